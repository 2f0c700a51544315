"""Tokenizers made on the spot, as there is no place here to fetch one from. Every text has tokens, and they join up to it again."""
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

# What ends a message in the template that is trained with.
END = "<|im_end|>"


def bytewise(chat_template):
    """Each byte is a token: nothing is joined across the borders of a mask."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = Tokenizer(models.BPE(vocab={letter: at for at, letter in enumerate(alphabet)}, merges=[]))
    return dressed(plain, chat_template, use_regex=False)


def trained(chat_template, texts, size):
    """Frequent pieces of the texts are tokens, so that a row is not too long to learn from."""
    plain = Tokenizer(models.BPE())
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    plain.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False))
    return dressed(plain, chat_template, use_regex=True)


def dressed(plain, chat_template, use_regex):
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)
    plain.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, eos_token=END, pad_token="<|pad|>", bos_token="<|begin|>"
    )
    tokenizer.chat_template = chat_template
    return tokenizer
