"""Every surface that is attacked."""

from __future__ import annotations

from tests.attack.archives import BUNDLES, RELEASES
from tests.attack.configs import OLIVE, TOML, YAML
from tests.attack.data import DATA
from tests.attack.hub import HUB
from tests.attack.models import MODELS

SURFACES = (TOML, OLIVE, YAML, DATA, MODELS, HUB, BUNDLES, RELEASES)
