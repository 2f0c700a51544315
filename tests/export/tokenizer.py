"""A tokenizer made on the spot: each byte is a token, so that every text has tokens and they join up to the same text again."""
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

# What ends a message in the template that is trained with.
END = "<|im_end|>"


def bytewise(chat_template=None):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = Tokenizer(models.BPE(vocab={letter: at for at, letter in enumerate(alphabet)}, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    plain.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, eos_token=END, pad_token="<|pad|>", bos_token="<|begin|>")
    tokenizer.chat_template = chat_template
    return tokenizer
