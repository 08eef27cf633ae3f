"""Tables of people's own: what stands in each column, as a schema that makes numbers of a row, new ones too."""

from safecompress.tables.reading import Table
from safecompress.tables.schema import Column, TableSchema
from safecompress.tables.survey import ColumnSummary, Roles, TableSurvey, survey_csv

__all__ = ["Column", "ColumnSummary", "Roles", "Table", "TableSchema", "TableSurvey", "survey_csv"]
