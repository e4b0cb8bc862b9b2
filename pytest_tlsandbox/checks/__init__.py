"""Ready-made tests for ``pytest --pyargs pytest_tlsandbox.checks --tlsandbox ID``."""
