"""ServiceAccount tokens of pods are asked for once, renewed in time, and forgotten with their pod."""

import pytest

from fairlead.api import kinds
from fairlead.node import env, tokens
from fairlead.testing import apiserver, clock

POD = {"metadata": {"name": "web", "namespace": "default", "uid": "u1"}, "spec": {"serviceAccountName": "robot"}}
WANTED = tokens.reference({"path": "token", "expirationSeconds": 3600, "audience": "vault"})[1]


@pytest.fixture
def time():
    return clock.FakeClock()


@pytest.fixture
async def found(time):
    api = apiserver.FakeApiServer(clock=time)
    made = tokens.Tokens(api.client("node"), clock=time)
    await api.client().create(kinds.SERVICE_ACCOUNT, {"metadata": {"name": "robot"}}, namespace="default")
    return made


async def test_a_token_is_kept_until_four_fifths_of_its_life_are_over(found, time):
    first = await found.get(POD, WANTED)
    assert first["token"].startswith("default/robot vault ")
    await time.advance(2870)
    assert await found.get(POD, WANTED) == first
    await time.advance(20)
    assert await found.get(POD, WANTED) != first


async def test_a_pod_of_the_same_name_has_a_token_of_its_own(found, time):
    first = await found.get(POD, WANTED)
    await time.advance(1)
    other = {**POD, "metadata": {**POD["metadata"], "uid": "u2"}}
    assert await found.get(other, WANTED) != first
    found.forget("u1")
    assert await found.get(POD, WANTED) != first


async def test_an_account_that_is_not_there_is_told(found):
    stranger = {**POD, "spec": {"serviceAccountName": "nobody"}}
    with pytest.raises(env.EnvProblem, match="nobody"):
        await found.get(stranger, WANTED)
