"""A store of MLflow, rows and files, copied to another database and another place for files."""

from pipeline.migrate.run import Migrated as Migrated
from pipeline.migrate.run import migrate as migrate
