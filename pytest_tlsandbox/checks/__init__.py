"""Ready-made tests: run ``pytest --pyargs pytest_tlsandbox.checks --tlsandbox ID``."""
