from nnexp import errors as errors
from nnexp.api.comparison import Verdict as Verdict
from nnexp.api.comparison import compare as compare
from nnexp.api.model import Model as Model
from nnexp.api.model import experiment as experiment
from nnexp.api.model import fit as fit
from nnexp.api.plugins import plugged as plugged
from nnexp.api.run import Run as Run
from nnexp.api.run import load as load
from nnexp.deploy.module import load_module as load_module

__version__: str
