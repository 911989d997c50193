"""CPU models with features switched, in the syntax of QEMU's -cpu."""

from __future__ import annotations

import pytest
from test_system_registers import cpuid

from vmcore.engine import Cpu, PhysicalMemory, find_model, model_names
from vmcore.engine.cpu_options import choose_cpu, implemented
from vmcore.engine.feature_names import feature_aliases, feature_of, named_features
from vmcore.engine.models import feature_bits
from vmcore.model.errors import ConfigError


def test_features_have_the_names_that_users_of_qemu_know() -> None:
    for name, feature in (
        ("pni", "SSE3"),
        ("sse3", "SSE3"),
        ("sse4.1", "SSE4_1"),
        ("sse4_1", "SSE4_1"),
        ("sse4-1", "SSE4_1"),
        ("lahf-lm", "LAHF_LM"),
        ("lahf_lm", "LAHF_LM"),
        ("sha-ni", "SHA"),
        ("nx", "NX"),
        ("xd", "NX"),
        ("invtsc", "INVARIANT_TSC"),
        ("avx2", "AVX2"),
    ):
        assert feature_of(name) == feature
    assert feature_of("I686") is None
    assert not named_features().keys() & feature_aliases().keys()


def test_a_bare_name_is_a_model() -> None:
    for name in model_names():
        choice = choose_cpu(name)
        assert (choice.name, choice.model, choice.warnings) == (name, find_model(name), ())


def test_features_are_switched_and_signs_come_last() -> None:
    choice = choose_cpu("qemu64,+aes,-pni,rdrand=on,aes=off,sse4.1")
    assert choice.name == "qemu64"
    assert {"AES", "RDRAND", "SSE4_1"} <= choice.model.features
    assert "SSE3" not in choice.model.features
    assert choice.warnings == ()


def test_cpuid_announces_what_was_switched_on_in_leaves_that_are_added() -> None:
    model = choose_cpu("pentium3,+erms,+nx,+xsave,+arat").model
    memory = PhysicalMemory()
    memory.map_ram(0, 0x100000)
    cpu = Cpu(memory, model=model)
    assert cpuid(cpu, memory, 0)[0] == 0xD
    assert cpuid(cpu, memory, 6)[0] >> 2 & 1
    assert cpuid(cpu, memory, 7)[1] == 1 << 9
    assert cpuid(cpu, memory, 0xD)[0] == 3
    assert cpuid(cpu, memory, 0x80000000)[0] >= 0x80000001
    assert cpuid(cpu, memory, 0x80000001)[3] >> 20 & 1


def test_what_the_engine_has_not_stays_off_with_a_warning() -> None:
    missing = next(name for name in ("svm", "vmx", "la57") if feature_of(name) not in implemented())
    place = feature_bits()[str(feature_of(missing))]
    assert place is not None
    register = ("EAX", "EBX", "ECX", "EDX")[place.register]
    warning = f"TCG doesn't support requested feature: CPUID.{place.leaf:02X}H:{register}.{missing} [bit {place.bit}]"
    assert choose_cpu(f"max,+{missing}").warnings == (warning,)
    assert choose_cpu(f"max,+{missing}").model == find_model("max")
    assert choose_cpu(f"max,+{missing},check=off").warnings == ()
    with pytest.raises(ConfigError) as refused:
        choose_cpu(f"max,{missing},enforce")
    assert warning in str(refused.value)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("i9000", "cpu"),
        ("", "cpu"),
        ("max,nosuch=on", "cpu.nosuch"),
        ("max,+nosuch", "cpu.nosuch"),
        ("max,aes=maybe", "cpu.aes"),
        ("max,", "cpu."),
    ],
)
def test_what_there_is_not_is_refused(text: str, path: str) -> None:
    with pytest.raises(ConfigError) as refused:
        choose_cpu(text)
    assert refused.value.path == path
