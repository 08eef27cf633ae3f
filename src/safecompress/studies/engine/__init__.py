"""The engine of studies: keyed items, each measured once into a file of its own; then page, picture, document."""

from safecompress.studies.engine.attacks import apart, check_shadows, check_single_version, give_num_shadows, name_apart
from safecompress.studies.engine.folder import StudyFolder, open_study_folder
from safecompress.studies.engine.outputs import StudyRecord, environment, write_outputs
from safecompress.studies.engine.runner import Runner
from safecompress.studies.engine.study import Figure, Measured, Result, Study

__all__ = [
    "Figure",
    "Measured",
    "Result",
    "Runner",
    "Study",
    "StudyFolder",
    "StudyRecord",
    "apart",
    "check_shadows",
    "check_single_version",
    "environment",
    "give_num_shadows",
    "name_apart",
    "open_study_folder",
    "write_outputs",
]
