"""Types of the management model that look into virtio devices.

Source: the management documents, "Virtio devices" (features and status as numbers, as these have it).
"""

from __future__ import annotations

from attrs import frozen

from vmcore.model.wire import Int, UInt8, UInt16, UInt32, UInt64, struct

__all__ = ["VhostStatus", "VirtioInfo", "VirtioStatus"]


@struct
@frozen(kw_only=True)
class VirtioInfo:
    """A virtio device.  path: in the object tree; name: its kind ("virtio-net")."""

    path: str
    name: str


@struct
@frozen(kw_only=True)
class VhostStatus:
    """The part of a virtio device that the host's kernel or another process does.

    n_mem_sections, n_tmp_sections: pieces of guest memory that it knows; nvqs, vq_index: its queues and the first of
    them; features, acked_features, backend_features, protocol_features: feature bits offered, agreed on, of the back
    end and of its protocol; max_queues, backend_cap: what the back end can; log_enabled, log_size: its log of pages
    written.
    """

    n_mem_sections: Int
    n_tmp_sections: Int
    nvqs: UInt32
    vq_index: Int
    features: UInt64
    acked_features: UInt64
    backend_features: UInt64
    protocol_features: UInt64
    max_queues: UInt64
    backend_cap: UInt64
    log_enabled: bool
    log_size: UInt64


@struct
@frozen(kw_only=True)
class VirtioStatus:
    """Everything about a virtio device.

    device_id: the virtio device number; device_endian: "little" or "big"; guest_features, host_features,
    backend_features: bits agreed on, offered, and of the back end; num_vqs: queues in use; status, isr, queue_sel:
    the registers of these names; vm_running: the machine runs as far as the device knows; broken, disabled: it fell
    out; use_started, started, start_on_kick: when it begins to work; disable_legacy_check: legacy drivers are not
    checked for; bus_name: of its bus; use_guest_notifier_mask: interrupts can be masked at their source; vhost_started,
    vhost_dev: the part that somebody else does, None if none is active.
    """

    name: str
    device_id: UInt16
    vhost_started: bool
    device_endian: str
    guest_features: UInt64
    host_features: UInt64
    backend_features: UInt64
    num_vqs: Int
    status: UInt8
    isr: UInt8
    queue_sel: UInt16
    vm_running: bool
    broken: bool
    disabled: bool
    use_started: bool
    started: bool
    start_on_kick: bool
    disable_legacy_check: bool
    bus_name: str
    use_guest_notifier_mask: bool
    vhost_dev: VhostStatus | None = None
