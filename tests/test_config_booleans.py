"""A Boolean of the settings is True or False, wherever it is declared."""

import pytest
from marshmallow import ValidationError, fields

from app.config.fields import boolean
from app.providers import registry


@pytest.mark.parametrize("value", [1, 0, 1.0, "true", "yes", "", None, []])
def test_only_true_and_false_are_booleans(value):
    with pytest.raises(ValidationError):
        boolean().deserialize(value)


@pytest.mark.parametrize("kind", ["cohere", "ollama", "tei", "voyage", "mistral"])
def test_number_is_no_boolean_option_of_a_kind(kind):
    booleans = [f for f in registry.options(kind).values() if isinstance(f, fields.Boolean)]
    for field in booleans:
        assert field.deserialize(True) is True
        with pytest.raises(ValidationError):
            field.deserialize(1)
