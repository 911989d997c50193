# The demo guest, third part: 64-bit mode at 8400h.  Exceptions, timer, keyboard, some work, power-off.
# keystone, Intel syntax.

        mov ax, 0x10
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov rsp, 0x7c00
        cld
        lea rsi, [rip + text_long]
        call print
        call processor

# Interrupt table at 20000h: 256 gates, all to `unexpected`, then those that are meant.
        mov rdi, 0x20000
        mov ecx, 256
gate:
        lea rax, [rip + unexpected]
        call set_gate
        dec ecx
        jnz gate
        mov rdi, 0x20000 + 14 * 16
        lea rax, [rip + page_fault]
        call set_gate
        mov rdi, 0x20000 + 0x20 * 16
        lea rax, [rip + timer]
        call set_gate
        lea rax, [rip + keyboard]
        call set_gate
        lea rax, [rip + idt_register]
        lidt [rax]

# A page fault, caught: an address that no table maps.
        lea rsi, [rip + text_fault]
        call print
        mov rax, 0x123456789000
        mov rbx, qword ptr [rax]
resumed:
        mov rax, cr2
        call hexadecimal
        lea rsi, [rip + text_caught]
        call print

# The interrupt controllers at vectors 20h and 28h; timer and keyboard unmasked.
        mov al, 0x11
        out 0x20, al
        out 0xa0, al
        mov al, 0x20
        out 0x21, al
        mov al, 0x28
        out 0xa1, al
        mov al, 4
        out 0x21, al
        mov al, 2
        out 0xa1, al
        mov al, 1
        out 0x21, al
        out 0xa1, al
        mov al, 0xfc
        out 0x21, al
        mov al, 0xff
        out 0xa1, al

# Channel 0 of the timer: 11932 counts are 10 ms.
        mov al, 0x34
        out 0x43, al
        mov ax, 11932
        out 0x40, al
        mov al, ah
        out 0x40, al
        lea rsi, [rip + text_timer]
        call print
        mov qword ptr [rip + ticks], 0
        sti
wait_ticks:
        hlt
        cmp qword ptr [rip + ticks], 10
        jb wait_ticks
        lea rsi, [rip + text_ticked]
        call print

# A key, within half a second; otherwise the controller is told to send one to itself (command D2h).
        lea rsi, [rip + text_key]
        call print
        mov qword ptr [rip + ticks], 0
wait_key:
        hlt
        cmp byte ptr [rip + scan_code], 0
        jne have_key
        cmp qword ptr [rip + ticks], 50
        jb wait_key
        lea rsi, [rip + text_loop]
        call print
        mov al, 0xd2
        out 0x64, al
to_controller:
        in al, 0x64
        test al, 2
        jnz to_controller
        mov al, 0x1c
        out 0x60, al
loop_key:
        hlt
        cmp byte ptr [rip + scan_code], 0
        je loop_key
have_key:
        movzx eax, byte ptr [rip + scan_code]
        call hexadecimal
        lea rsi, [rip + text_line]
        call print
        cli

# Work: the primes below a million, by a sieve at 1 MiB.
        lea rsi, [rip + text_primes]
        call print
        mov rdi, 0x100000
        mov rax, 0x0101010101010101
        mov ecx, 125000
        rep stosq
        mov rdi, 0x100000
        mov esi, 2
sieve:
        cmp byte ptr [rdi + rsi], 0
        je next
        mov eax, esi
        imul eax, esi
cross_out:
        mov byte ptr [rdi + rax], 0
        add eax, esi
        cmp eax, 1000000
        jb cross_out
next:
        inc esi
        cmp esi, 1000
        jb sieve
        xor eax, eax
        mov esi, 2
count:
        movzx ebx, byte ptr [rdi + rsi]
        add eax, ebx
        inc esi
        cmp esi, 1000000
        jb count
        call decimal
        lea rsi, [rip + text_line]
        call print

# ACPI: the root pointer lies on a 16-byte boundary between E0000h and FFFFFh.
        mov esi, 0xe0000
        mov rax, 0x2052545020445352
root:
        cmp qword ptr [rsi], rax
        je root_found
        add esi, 16
        cmp esi, 0x100000
        jb root
no_acpi:
        lea rsi, [rip + text_no_acpi]
        call print
stop:
        hlt
        jmp stop

# RSDT at +16; its entries, 4 bytes each, from +36; the FADT's signature is FACP.
root_found:
        mov esi, dword ptr [rsi + 16]
        mov ecx, dword ptr [rsi + 4]
        sub ecx, 36
        shr ecx, 2
entry:
        mov ebx, dword ptr [rsi + 36]
        cmp dword ptr [rbx], 0x50434146
        je fadt_found
        add rsi, 4
        dec ecx
        jnz entry
        jmp no_acpi

# In the DSDT: the name _S5_, a package, its length and count, and the value for SLP_TYP.
fadt_found:
        mov esi, dword ptr [rbx + 40]
        mov ecx, dword ptr [rsi + 4]
sleep:
        cmp dword ptr [rsi], 0x5f35535f
        je sleep_found
        inc rsi
        dec ecx
        jnz sleep
        jmp no_acpi
sleep_found:
        movzx eax, byte ptr [rsi + 5]
        shr eax, 6
        add rsi, rax
        movzx r12d, byte ptr [rsi + 7]
        cmp r12b, 0x0a
        jne have_type
        movzx r12d, byte ptr [rsi + 8]
have_type:
        shl r12d, 10
        or r12d, 0x2000

        lea rsi, [rip + text_off]
        call print
        mov eax, dword ptr [rbx + 64]
        call hexadecimal
        lea rsi, [rip + text_bye]
        call print

# ACPI mode first, if it is not on (SCI_EN, bit 0 of PM1 control), then SLP_EN with the type of S5.
        mov edx, dword ptr [rbx + 64]
        in ax, dx
        test al, 1
        jnz enabled
        mov edx, dword ptr [rbx + 48]
        mov al, byte ptr [rbx + 52]
        out dx, al
enabled:
        mov edx, dword ptr [rbx + 64]
        mov eax, r12d
        out dx, ax
off:
        hlt
        jmp off

# RDI: gate, RAX: handler.  RDI moves on to the next gate.
set_gate:
        mov word ptr [rdi], ax
        mov word ptr [rdi + 2], 0x18
        mov word ptr [rdi + 4], 0x8e00
        shr rax, 16
        mov word ptr [rdi + 6], ax
        mov qword ptr [rdi + 8], 0
        add rdi, 16
        ret

# The error code is dropped and the interrupted instruction skipped.
page_fault:
        add rsp, 8
        lea rax, [rip + resumed]
        mov qword ptr [rsp], rax
        iretq

timer:
        push rax
        inc qword ptr [rip + ticks]
        mov al, 0x20
        out 0x20, al
        pop rax
        iretq

keyboard:
        push rax
        in al, 0x60
        mov byte ptr [rip + scan_code], al
        mov al, 0x20
        out 0x20, al
        pop rax
        iretq

unexpected:
        lea rsi, [rip + text_unexpected]
        call print
        jmp stop

# The name of the processor: CPUID 80000002h to 80000004h.
processor:
        mov eax, 0x80000000
        cpuid
        cmp eax, 0x80000004
        jb nameless
        lea rsi, [rip + text_indent]
        call print
        mov rdi, 0x600
        mov r8d, 0x80000002
part:
        mov eax, r8d
        cpuid
        mov dword ptr [rdi], eax
        mov dword ptr [rdi + 4], ebx
        mov dword ptr [rdi + 8], ecx
        mov dword ptr [rdi + 12], edx
        add rdi, 16
        inc r8d
        cmp r8d, 0x80000005
        jb part
        mov byte ptr [rdi], 0
        mov rsi, 0x600
blank:
        cmp byte ptr [rsi], 0x20
        jne name
        inc rsi
        jmp blank
name:
        call print
        lea rsi, [rip + text_line]
        call print
nameless:
        ret

# Prints the text at RSI up to its final zero.
print:
        mov al, byte ptr [rsi]
        inc rsi
        test al, al
        jz printed
        call put
        jmp print
printed:
        ret

# Sends AL when COM1 is ready for it.  Changes RAX and RDX.
put:
        mov ah, al
        mov edx, 0x3fd
busy:
        in al, dx
        test al, 0x20
        jz busy
        mov edx, 0x3f8
        mov al, ah
        out dx, al
        ret

# Prints RAX in hexadecimal, without leading zeroes.
hexadecimal:
        push rbx
        mov ebx, 16
        call number
        pop rbx
        ret

# Prints RAX in decimal.
decimal:
        push rbx
        mov ebx, 10
        call number
        pop rbx
        ret

# Prints RAX in base RBX.
number:
        xor ecx, ecx
divide:
        xor edx, edx
        div rbx
        push rdx
        inc ecx
        test rax, rax
        jnz divide
digit:
        pop rax
        add al, 0x30
        cmp al, 0x3a
        jb is_digit
        add al, 7
is_digit:
        call put
        dec ecx
        jnz digit
        ret

        .align 8
ticks:
        .quad 0
scan_code:
        .byte 0
        .align 8
idt_register:
        .word 4095
        .quad 0x20000

text_long:
        .asciz "long mode:      64-bit code, 2 MiB pages\r\n"
text_indent:
        .asciz "                "
text_fault:
        .asciz "exceptions:     page fault at "
text_caught:
        .asciz "h, caught and skipped\r\n"
text_timer:
        .asciz "timer:          waiting for 10 interrupts at 100 Hz ... "
text_ticked:
        .asciz "there they are\r\n"
text_key:
        .asciz "keyboard:       press a key ... "
text_loop:
        .asciz "(none came, the controller sends itself one) "
text_primes:
        .asciz "work:           primes below a million: "
text_no_acpi:
        .asciz "power:          no ACPI tables found\r\n"
text_off:
        .asciz "power:          ACPI tables found, PM1a control at port "
text_bye:
        .asciz "h: off\r\n"
text_unexpected:
        .asciz "\r\nunexpected interrupt\r\n"
text_line:
        .asciz "\r\n"
