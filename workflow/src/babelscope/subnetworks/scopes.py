"""The parts of a network that counts of its weight matrices are summed over."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from babelscope.subnetworks.masks import Place

Key = tuple[str | None, int | None, str | None]


def _stack(place: Place) -> Key:
    return place.stack, None, None


def _layer(place: Place) -> Key:
    return place.stack, place.layer, None


def _component(place: Place) -> Key:
    return place.stack, None, place.component


def _layer_component(place: Place) -> Key:
    return place.stack, place.layer, place.component


SCOPES: dict[str, Callable[[Place], Key]] = {
    "stack": _stack,
    "layer": _layer,
    "component": _component,
    "layer-component": _layer_component,
}


def scopes_of(places: Sequence[Place]) -> tuple[pd.DataFrame, np.ndarray]:
    """Return every part of a network and the matrices it consists of.

    Parameters
    ----------
    places
        Of the network's weight matrices. What stands above the layers (layer -1: a pooler) belongs
        to the whole, its stack and its component, but to no layer.

    Returns
    -------
    tuple
        A table with one row per part: ``scope`` (all, stack, layer, component, layer-component),
        ``stack, layer, component``, NA where all are summed over; and a bool array (parts,
        matrices), so that its product with counts per matrix gives counts per part. A component is
        one stack's: an encoder and a decoder have a ``q`` each.
    """
    rows: list[tuple[str | None, ...]] = [("all", None, None, None)]
    members = [np.ones(len(places), dtype=bool)]
    for scope, key_of in SCOPES.items():
        inside = [
            None if place.layer < 0 and "layer" in scope else key_of(place) for place in places
        ]
        for key in dict.fromkeys(key for key in inside if key):
            rows.append((scope, *key))  # pyright: ignore
            members.append(np.array([one == key for one in inside]))
    parts = pd.DataFrame(rows, columns=["scope", "stack", "layer", "component"])
    parts["layer"] = parts["layer"].astype("Int64")
    return parts.astype({"stack": "string", "component": "string"}), np.array(members)
