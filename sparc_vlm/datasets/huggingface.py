"""Ready-made tokenizers, by path or by name on the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

from sparc_vlm.datasets.tokens import (
    MAX_LENGTH,
    TokenIds,
    Tokenizer,
    assign_words,
    save_files,
)
from sparc_vlm.errors import UsageError
from sparc_vlm.files import TEMPORARY
from sparc_vlm.registry import TOKENIZERS


@TOKENIZERS.register_module()
class HuggingFaceTokenizer(Tokenizer):
    """Any fast tokenizer of `transformers`.

    Code that comes with a tokenizer is never run. Begin and end marks are
    kept, as the text model that it belongs to expects them, and flagged as
    not real.

    Args:
        path: A folder, or a name on the hub.
        max_length: Tokens kept of a caption, marks included.

    Raises:
        ValueError: The tokenizer does not say where its tokens come from.

    Attributes:
        vocab_size: Number of token ids, added ones included.
        max_length: Tokens kept of a caption, marks included.
    """

    def __init__(
        self, path: str | Path, max_length: int | None = MAX_LENGTH
    ) -> None:
        from transformers import AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(
            str(path), trust_remote_code=False
        )
        if not self._tokenizer.is_fast:
            raise UsageError(
                f'{path} has no fast tokenizer: convert it to tokenizer.json'
            )
        self.max_length = max_length or MAX_LENGTH
        self.vocab_size = len(self._tokenizer)

    def encode(self, text: str) -> TokenIds:
        """Tokens of one caption, in its marks.

        Args:
            text: Any text; where it is empty no token is real.
        """
        encoded = self._tokenizer(
            text,
            truncation=True,
            max_length=self.max_length,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        real = [not mark for mark in encoded['special_tokens_mask']]
        words = assign_words(text, encoded['offset_mapping'])
        return TokenIds(
            encoded['input_ids'],
            real,
            [
                word if flag else None
                for word, flag in zip(words, real, strict=True)
            ],
            bool(encoded.encodings[0].overflowing),
        )

    def save(self, directory: str | Path) -> None:
        """Writes the tokenizer's own files and the settings.

        Args:
            directory: Made if it is not there.

        Raises:
            OSError: The disk is full, or the folder cannot be written to;
                each file that stood there still does.
        """
        folder = Path(directory)
        folder.parent.mkdir(parents=True, exist_ok=True)
        # transformers writes in place, which a kill leaves half done.
        with TemporaryDirectory(
            prefix=f'{folder.name}.', suffix=TEMPORARY, dir=folder.parent
        ) as name:
            try:
                self._tokenizer.save_pretrained(name)
            except Exception as error:
                raise _as_os_error(error) from error
            files = {
                path.relative_to(name).as_posix(): path.read_bytes()
                for path in Path(name).rglob('*')
                if path.is_file()
            }
        save_files(self, folder, files)


def _as_os_error(error: Exception) -> Exception:
    """What the system said, where tokenizers raises a bare `Exception`."""
    found = re.search(r'(.*) \(os error (\d+)\)', str(error))
    return OSError(int(found[2]), found[1]) if found else error
