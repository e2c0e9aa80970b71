"""Which version is the champion: moved under a lock, written down first, tried before it counts."""

from pipeline.promotion.lock import lock as lock
from pipeline.promotion.moves import Moved as Moved
from pipeline.promotion.moves import promote as promote
from pipeline.promotion.moves import reconcile as reconcile
from pipeline.promotion.moves import rollback as rollback
from pipeline.promotion.records import Change as Change
from pipeline.promotion.records import history as history
from pipeline.promotion.smoke import Golden as Golden
