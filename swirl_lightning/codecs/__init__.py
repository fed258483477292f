"""States and actions as token ids, and back."""

from swirl_lightning.codecs.delta import decode_delta, encode_delta
from swirl_lightning.codecs.text import Layout, StateForm, TextCodec, indent

__all__ = ["Layout", "StateForm", "TextCodec", "decode_delta", "encode_delta", "indent"]
