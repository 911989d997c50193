"""The tables as Python reads them."""

from __future__ import annotations

from vmcore.engine import FEATURES, instruction_forms

PROMISED = """
        daa aaa aam enter leave bound arpl xlat call jmp retf iret movs cmps scas lods stos ins outs cmovo cmpxchg
        cmpxchg8b
        bswap movbe popcnt lzcnt tzcnt andn bextr blsi blsr blsmsk bzhi pdep pext mulx rorx sarx shlx shrx adcx adox
        crc32
        fadd fsin fbstp fprem1 fnsave frstor fcomi fisttp emms pshufb palignr ptest roundps dpps pcmpestri pcmpistrm
        extrq insertq aesenc aeskeygenassist pclmulqdq sha1rnds4 sha256rnds2 fxsave xsave xsaveopt xsavec rdrand rdseed
        rdfsbase wrgsbase rdpid syscall sysret sysenter sysexit swapgs rdtsc rdtscp rdpmc cpuid rdmsr wrmsr monitor
        mwait
        pause hlt wbinvd clflush clflushopt invpcid invlpg lmsw smsw lar lsl verr verw ud2 int3 int1 into
"""


def test_every_form_names_known_features() -> None:
    unknown = {name for form in instruction_forms() for name in form.needs} - set(FEATURES)
    assert not unknown


def test_forms_say_what_they_are() -> None:
    add = next(form for form in instruction_forms() if form.encoding == "01 /r")
    assert (add.table, add.mnemonic, add.operands) == ("integer", "add", ("Ev", "Gv"))
    assert add.attributes == {"lock"}
    assert add.text == "add Ev,Gv"
    assert add.semantics.startswith("fast:")
    assert len(instruction_forms()) > 900


def test_every_form_of_the_long_list_is_there() -> None:
    """What the engine promises: a mnemonic of each group."""
    known = {form.mnemonic for form in instruction_forms()}
    promised = set(PROMISED.split())
    assert not promised - known
