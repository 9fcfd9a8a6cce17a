import pytest
from judge import chromium


@pytest.fixture(scope="session")
def page():
    with chromium() as page:
        yield page
