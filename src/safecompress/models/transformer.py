"""Text classifiers of the BERT family, of Hugging Face transformers: pretrained, or built from their sizes."""

# N samples, L tokens of one sample, C classes

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from safecompress.errors import ModelError
from safecompress.models.checks import require_classes, require_text
from safecompress.models.encoders import FORGOTTEN, MAX_TEXT, checked_entries, read_entries
from safecompress.models.tokenbag import TokenBag
from safecompress.storage import read_regular

INSTALL = "This model needs the package transformers, which is not installed: pip install tokenizers transformers"

WEIGHTS, CONFIG = "model.safetensors", "config.json"


class Transformer(nn.Module):
    """An encoder with a classification head, from pretrained weights or from its sizes alone.

    ``folder`` holds ``config.json`` and ``model.safetensors``; ``hub`` is a model's name on the Hugging Face hub, which
    is looked up in this machine's cache only: nothing is downloaded. ``config`` is the text of a ``config.json``, for
    fresh weights. Of these exactly one is given. ``layers`` keeps the first so many layers of the encoder.
    ``forward`` maps tokens (N, L), -1 where there is none, to logits (N, num_classes); the attention mask follows from
    the tokens. The head's weights are fresh.

    Raises UsageError without the package, ModelError for a folder that lacks a file, pickled weights, a configuration
    that is no text classifier's, or texts longer than the encoder can read.
    Source: Devlin et al. 2019 (BERT), Liu et al. 2019 (RoBERTa), Sanh et al. 2019 (DistilBERT), Wang et al. 2020
    (MiniLM), as Wolf et al. 2020 (transformers) implements them.
    """

    places: ClassVar[tuple[str, ...]] = ("folder", "hub")

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        folder: Path | None = None,
        hub: str | None = None,
        config: str | None = None,
        layers: int | None = None,
    ) -> None:
        super().__init__()
        require_text("transformer", input_shape)
        require_classes(num_classes)
        source = located(folder, hub, config)
        settings = configuration(source if isinstance(source, str) else _read(source / CONFIG), num_classes, layers)
        _require_room(settings, input_shape[0])
        self.vocab_size = int(settings.vocab_size)
        self.network = _pretrained(source, settings) if isinstance(source, Path) else _fresh(settings)
        self._num_classes, self._input_shape = num_classes, tuple(input_shape)
        self._padding = settings.pad_token_id if settings.pad_token_id is not None else 0

    @property
    def twin(self) -> nn.Module:
        """A network that reads the same rows and is trained in seconds, for controls, which must memorise theirs."""
        return TokenBag(self._input_shape, self._num_classes, self.vocab_size)

    def forward(self, tokens_NL: Tensor) -> Tensor:
        """Logits (N, C) of tokens (N, L): whole numbers in any type."""
        tokens_NL = tokens_NL.to(torch.int64)
        is_token_NL = tokens_NL >= 0
        is_token_NL = torch.cat([torch.ones_like(is_token_NL[:, :1]), is_token_NL[:, 1:]], dim=1)  # never none at all
        ids_NL = torch.where(tokens_NL >= 0, tokens_NL, self._padding)
        logits_NC: Tensor = self.network(input_ids=ids_NL, attention_mask=is_token_NL.to(torch.int64)).logits
        return logits_NC

    @classmethod
    def stored_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options that build the same network without its folder: what a file keeps of it, which names no place."""
        folder, hub = options.get("folder"), options.get("hub")
        source = located(Path(folder) if folder else None, hub, options.get("config"))
        settings = configuration(
            source if isinstance(source, str) else _read(source / CONFIG), 2, options.get("layers")
        )
        kept = {name: value for name, value in settings.to_dict().items() if name not in FORGOTTEN}
        return {"config": json.dumps(kept, sort_keys=True)}


def located(folder: Path | None, hub: str | None, config: str | None) -> Path | str:
    """Where the pretrained model lies, or the text of a configuration. Raises ModelError unless one is given."""
    sources = {"folder": folder, "hub": hub, "config": config}
    named = [name for name, value in sources.items() if value is not None]
    if len(named) != 1:
        raise ModelError(
            "A transformer comes from one of: folder (config.json and model.safetensors), hub (the name of a model in "
            f"this machine's cache), config (the text of a config.json, for fresh weights); got {named or 'none'}."
        )
    if config is not None:
        return config
    place = folder if folder is not None else _cached(str(hub))
    lacks = [name for name in (CONFIG, WEIGHTS) if not (place / name).is_file()]
    if lacks:
        pickled = any((place / name).is_file() for name in ("pytorch_model.bin", "tf_model.h5"))
        raise ModelError(
            f"A pretrained model is expected in {place}, but {' and '.join(lacks)} {'are' if len(lacks) > 1 else 'is'} "
            "not there. Nothing is downloaded: fetch them with 'hf download NAME --local-dir FOLDER', or write them "
            "with model.save_pretrained(FOLDER)"
            + (" (the weights that are there are not safetensors)." if pickled else ".")
        )
    return place


def configuration(text: str, num_classes: int, layers: int | None) -> Any:
    """The sizes of the network. Raises ModelError for a text that is no text classifier's configuration."""
    transformers = _require()
    kind, entries = read_entries(text)
    with _quiet(transformers):
        try:
            defaults = transformers.AutoConfig.for_model(kind).to_dict()
            kept = checked_entries(kind, entries, defaults, transformers.activations.ACT2FN)
            settings = transformers.AutoConfig.for_model(kind, **kept, num_labels=num_classes)
        except (TypeError, ValueError) as error:
            raise ModelError(f"The configuration of the {kind} cannot be read: {error}") from error
    if layers is not None:
        most = settings.num_hidden_layers
        if not 1 <= layers <= most:
            raise ModelError(f"layers keeps 1 .. {most} layers of this encoder; got {layers}.")
        settings.num_hidden_layers = layers
    return settings


def _require_room(configuration: Any, length: int) -> None:
    """Raise ModelError for texts that are longer than the encoder has positions."""
    positions = getattr(configuration, "max_position_embeddings", None)
    if positions is None or positions <= 0:
        return
    room = positions - (1 + configuration.pad_token_id if configuration.model_type.endswith("roberta") else 0)
    if length > room:
        raise ModelError(
            f"The encoder reads texts of at most {room} tokens, and the data has {length}: set max_length."
        )


def _pretrained(folder: Path, configuration: Any) -> nn.Module:
    transformers = _require()
    with _quiet(transformers):
        try:
            network: nn.Module = transformers.AutoModelForSequenceClassification.from_pretrained(
                str(folder), config=configuration, local_files_only=True, use_safetensors=True, dtype=torch.float32
            )
        except Exception as error:  # transformers, safetensors and the disk each have errors of their own
            reason = (str(error) or repr(error)).splitlines()[0]
            raise ModelError(f"The weights in {folder} cannot be read: {reason}") from error
    return network.requires_grad_()


def _fresh(configuration: Any) -> nn.Module:
    transformers = _require()
    with _quiet(transformers):
        try:
            network: nn.Module = transformers.AutoModelForSequenceClassification.from_config(configuration)
        except (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError, AssertionError) as error:
            raise ModelError(f"The {configuration.model_type} cannot be built of these sizes: {error}") from error
    return network


def _cached(name: str) -> Path:
    """Where this machine's cache of the hub has the model."""
    _require()
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, local_files_only=True, allow_patterns=[CONFIG, WEIGHTS]))
    except Exception as error:  # the hub's own errors, and names that it refuses
        raise ModelError(
            f"The model {name!r} is not in this machine's cache of the hub, and nothing is downloaded. Where there is "
            f"a network: hf download {name} --local-dir FOLDER; then give folder = FOLDER ({CONFIG}, {WEIGHTS})."
        ) from error


def _read(path: Path) -> str:
    try:
        return read_regular(path, at_most=MAX_TEXT).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} cannot be read ({error}).") from error


def _require() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ModelError(INSTALL) from error
    return transformers


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without the package's bars and its report on weights that are fresh by intent."""
    logging = transformers.utils.logging
    level, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if has_bars:
            logging.enable_progress_bar()
