"""States and actions as token ids, and back."""

from swirl_lightning.codecs.base import Codec, CodecForm, indent
from swirl_lightning.codecs.delta import decode_delta, encode_delta
from swirl_lightning.codecs.layout import Layout
from swirl_lightning.codecs.text import TextCodec
from swirl_lightning.types import StateForm

__all__ = ["Codec", "CodecForm", "Layout", "StateForm", "TextCodec", "decode_delta", "encode_delta", "indent"]
