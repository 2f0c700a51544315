"""Writes a language model that knows nothing: a Llama of one layer with random weights, some hundred kilobytes long.

    python3 tiny_gguf.py FILE

Its tokens are the printable characters of ASCII and, for everything else, bytes. What it says is noise, but a server loads
it, counts its tokens and answers with it as with any other.
"""
import sys

import gguf
import numpy

WIDTH, HEADS, HIDDEN, CONTEXT = 64, 4, 128, 32768

tokens, kinds = ["<unk>", "<s>", "</s>"], [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
tokens += [f"<0x{byte:02X}>" for byte in range(256)]
kinds += [gguf.TokenType.BYTE] * 256
# A space is written as this character.
tokens += ["\u2581"] + [chr(code) for code in range(0x21, 0x7F)]
kinds += [gguf.TokenType.NORMAL] * (len(tokens) - len(kinds))

writer = gguf.GGUFWriter(sys.argv[1], "llama")
writer.add_name("noise")
writer.add_context_length(CONTEXT)
writer.add_embedding_length(WIDTH)
writer.add_block_count(1)
writer.add_feed_forward_length(HIDDEN)
writer.add_head_count(HEADS)
writer.add_head_count_kv(HEADS)
writer.add_rope_dimension_count(WIDTH // HEADS)
writer.add_layer_norm_rms_eps(1e-5)
writer.add_file_type(gguf.LlamaFileType.ALL_F32)
writer.add_vocab_size(len(tokens))
writer.add_tokenizer_model("llama")
writer.add_token_list(tokens)
writer.add_token_scores([0.0] * len(tokens))
writer.add_token_types(kinds)
writer.add_bos_token_id(1)
writer.add_eos_token_id(2)
writer.add_unk_token_id(0)

random = numpy.random.default_rng(1)


def add(name, *shape):
    writer.add_tensor(name, random.normal(0, 0.05, shape).astype(numpy.float32))


add("token_embd.weight", len(tokens), WIDTH)
add("output.weight", len(tokens), WIDTH)
writer.add_tensor("output_norm.weight", numpy.ones(WIDTH, numpy.float32))
for norm in ("attn_norm", "ffn_norm"):
    writer.add_tensor(f"blk.0.{norm}.weight", numpy.ones(WIDTH, numpy.float32))
for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
    add(f"blk.0.{part}.weight", WIDTH, WIDTH)
add("blk.0.ffn_gate.weight", HIDDEN, WIDTH)
add("blk.0.ffn_up.weight", HIDDEN, WIDTH)
add("blk.0.ffn_down.weight", WIDTH, HIDDEN)

writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
