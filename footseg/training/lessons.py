"""Before a student's first step: whether its teacher can teach, and the answers that never change."""

import dataclasses
import hashlib

import numpy as np

from footseg import files, runtime
from footseg.data.folder import cache_folder, new_file
from footseg.training.config import LOGITS, TEACHER_TERMS, TrainConfig
from footseg.training.distill import Teacher
from footseg.training.losses import teacher_terms
from footseg.training.sampling import Pool


def check(config: TrainConfig) -> None:
    """Hold the losses against the teacher.

    Raises:
        ValueError: an unknown loss, a teacher's term without a teacher, or a teacher without a term.
    """
    terms = [name for name, _ in teacher_terms(config.loss)]
    if terms and not config.teacher:
        raise ValueError(f"loss {terms[0]} needs a teacher: give the folder of its run as teacher")
    if config.teacher and not terms:
        *others, last = TEACHER_TERMS
        raise ValueError(
            f"teacher {config.teacher} has nothing to teach: the losses are {' '.join(config.loss)}; "
            f"add {', '.join(others)} or {last}"
        )


def may_be_cached(config: TrainConfig) -> bool:
    """Whether the teacher gives the same for an image in every epoch, and no more than logits is asked."""
    augmented = config.resize or any(dataclasses.astuple(config.augmentation()))
    return not augmented and all(TEACHER_TERMS[name] == LOGITS for name, _ in teacher_terms(config.loss))


def teacher_logits(teacher: Teacher, sha256: str, pool: Pool, config: TrainConfig) -> np.ndarray:
    """What ``teacher`` gives for each image of ``pool``: float16 (N, H, W, C).

    Computed once: half a step's work where the teacher is as large as the student, more where it is larger.
    Logits of more than ``memory_limit_mb`` live in a file in the cache folder, found again by the next run
    with this teacher (``sha256``), this data and this size.
    """
    shape = (len(pool), *config.size, teacher.network.output_shape[-1])
    if 2 * int(np.prod(shape)) <= config.memory_limit_mb << 20:
        logits = np.empty(shape, np.float16)
        _fill(logits, teacher, pool, config.batch)
        return logits
    digest = hashlib.sha256(f"{sha256} {pool.fingerprint}".encode()).hexdigest()
    cache = cache_folder() / f"{digest}-{config.size[0]}x{config.size[1]}-logits.npy"
    if not cache.is_file():
        with files.atomic_path(cache) as temporary:
            _fill(new_file(temporary, shape, np.float16), teacher, pool, config.batch)
    return np.load(cache, mmap_mode="r")


def _fill(logits: np.ndarray, teacher: Teacher, pool: Pool, batch: int) -> None:
    for start in range(0, len(pool), batch):
        chosen = np.arange(start, min(start + batch, len(pool)))
        # Filled up to a whole batch, because a new shape would compile a second graph.
        pictures, _ = pool.take(np.resize(chosen, batch))
        given = teacher.network.predict_on_batch(runtime.to_float(pictures))
        logits[chosen] = np.asarray(given)[: len(chosen)]
