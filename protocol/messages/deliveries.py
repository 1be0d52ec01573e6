"""Messages about channels and deliveries: from users and the launcher. Pure data."""

from __future__ import annotations

from typing import Literal

import msgspec

from protocol.deliveries import ChannelSpec, ChannelView, DeliveryView, PendingDelivery
from protocol.messages.shared import Message

# --- to the coordinator ----------------------------------------------------------------------------------------------


class AddChannel(Message, frozen=True, kw_only=True, tag="add_channel"):
    """Adds a channel to a project. `token` is chosen by the client and makes the request idempotent.

    Answer: ChannelAdded.
    """

    id: int
    token: str
    channel: ChannelSpec


class RemoveChannel(Message, frozen=True, kw_only=True, tag="remove_channel"):
    """Removes a channel of a project, and drops what it has not got yet. Answer: Done."""

    id: int
    project: str
    channel: int


class ListChannels(Message, frozen=True, kw_only=True, tag="list_channels"):
    """The channels of all projects, or of one. Answer: ChannelList."""

    id: int
    project: str | None = None


class ListDeliveries(Message, frozen=True, kw_only=True, tag="list_deliveries"):
    """The newest deliveries of all projects, or of one. Answer: DeliveryList."""

    id: int
    project: str | None = None
    limit: int = 100


class TakeDeliveries(Message, frozen=True, kw_only=True, tag="take_deliveries"):
    """Deliveries that are due, the oldest first. Sent by the launcher. Answer: PendingDeliveries."""

    id: int
    limit: int = 100


class SettleDelivery(Message, frozen=True, kw_only=True, tag="settle_delivery"):
    """Ends an attempt at a delivery: it arrived, was refused for good, or is to be tried again after `not_before`.

    Without effect if a newer one has replaced it. Answer: Done.
    """

    id: int
    key: str
    seq: int
    state: Literal["pending", "delivered", "failed"]
    not_before: float = 0.0
    error: str = ""


# --- from the coordinator --------------------------------------------------------------------------------------------


class ChannelAdded(Message, frozen=True, kw_only=True, tag="channel_added"):
    """Answer to AddChannel: the channel's id."""

    id: int
    channel: int


class ChannelList(Message, frozen=True, kw_only=True, tag="channel_list"):
    """Answer to ListChannels, by project and id."""

    id: int
    channels: list[ChannelView]


class DeliveryList(Message, frozen=True, kw_only=True, tag="delivery_list"):
    """Answer to ListDeliveries, newest first."""

    id: int
    deliveries: list[DeliveryView]


class PendingDeliveries(Message, frozen=True, kw_only=True, tag="pending_deliveries"):
    """Answer to TakeDeliveries. `web_url` is the base of links to runs; empty without one."""

    id: int
    web_url: str = ""
    deliveries: list[PendingDelivery] = msgspec.field(default_factory=list)


FromDeliveries = ListChannels | ListDeliveries | TakeDeliveries | SettleDelivery
"""Handled in the coordinator's turns, as other messages of clients."""
ChangesChannels = AddChannel | RemoveChannel
"""Handled as administrative messages: rare, and written at once."""
ToDeliveries = ChannelAdded | ChannelList | DeliveryList | PendingDeliveries
