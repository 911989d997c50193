# The demo guest, second part: 32-bit protected mode at 8000h.  Builds page tables and goes on to 64-bit mode.
# keystone, Intel syntax.

        mov ax, 0x10
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov fs, ax
        mov gs, ax
        mov esp, 0x7c00
        lea esi, [text_protected]
        call print

# A processor has CPUID if bit 21 of the flags can be changed.  CPUID 80000001h, EDX bit 29: long mode.
        pushfd
        pop eax
        mov ecx, eax
        xor eax, 0x200000
        push eax
        popfd
        pushfd
        pop eax
        cmp eax, ecx
        je none
        mov eax, 0x80000000
        cpuid
        cmp eax, 0x80000001
        jb none
        mov eax, 0x80000001
        cpuid
        bt edx, 29
        jc build
none:
        lea esi, [text_none]
        call print
stop:
        hlt
        jmp stop

# One PML4 at 10000h, one table of 1 GiB entries at 11000h, four directories of 2 MiB pages from 12000h: 4 GiB, one to one.
build:
        cld
        mov edi, 0x10000
        xor eax, eax
        mov ecx, 0x1800
        rep stosd
        mov dword ptr [0x10000], 0x11003
        mov dword ptr [0x11000], 0x12003
        mov dword ptr [0x11008], 0x13003
        mov dword ptr [0x11010], 0x14003
        mov dword ptr [0x11018], 0x15003
        mov edi, 0x12000
        mov eax, 0x83
        mov ecx, 2048
page:
        mov dword ptr [edi], eax
        add eax, 0x200000
        add edi, 8
        dec ecx
        jnz page

# PAE, EFER.LME, paging: compatibility mode until the jump.
        mov eax, cr4
        or eax, 0x20
        mov cr4, eax
        mov eax, 0x10000
        mov cr3, eax
        mov ecx, 0xc0000080
        rdmsr
        or eax, 0x100
        wrmsr
        mov eax, cr0
        or eax, 0x80000000
        mov cr0, eax
        ljmp 0x18:0x8400

# Prints the text at ESI up to its final zero.
print:
        mov al, byte ptr [esi]
        inc esi
        test al, al
        jz printed
        mov ah, al
        mov edx, 0x3fd
busy:
        in al, dx
        test al, 0x20
        jz busy
        mov edx, 0x3f8
        mov al, ah
        out dx, al
        jmp print
printed:
        ret

text_protected:
        .asciz "protected mode: flat segments, page tables for 4 GiB\r\n"
text_none:
        .asciz "                this processor has no 64-bit mode\r\n"
