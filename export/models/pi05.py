"""pi0.5: pi0 with the state in the prompt and flow time in the expert's norms. The module is pi0's."""

from dataclasses import replace

from export.models import pi0

FAMILY = replace(pi0.FAMILY, name="pi05", head="flow matching, adaRMS precomputed per step")
