"""The same curves as PyTorch, Transformers, Optax and Keras, from the rates that they computed."""

from __future__ import annotations

import pytest

from .peers import NAMES, PEERS, Peer


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.id)
def test_ours_is_the_curve_of_the_peer(peer: Peer) -> None:
    peer.assert_same(eval(peer.ours, dict(NAMES)))
