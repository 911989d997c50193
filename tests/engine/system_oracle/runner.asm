; Runs the cases that case_runner.py puts at CASES, one after the other, and writes a record of each to port E9h.
; Assembled twice: with LONG for 64-bit and compatibility mode, without for 32-bit, 16-bit and virtual-8086 mode.
; It is loaded at 60000h and entered in real mode.

GDT     equ 0x1000
IDT     equ 0x2000
TSS     equ 0x5000
TEMPLATE equ 0x80000           ; copy of 1000h-BFFFh
CODE    equ 0x10000
STACK   equ 0x5e000            ; of the runner
RECORD  equ 0x5f000
CASES   equ 0x100000
CASE_SIZE equ 512
MARK    equ 0x81               ; INT that ends a case

        org 0x60000
        bits 16
start:  cli
        xor ax, ax
        mov ds, ax
        o32 lgdt [cs:gdt_pointer - start]
        mov eax, 0x11
        mov cr0, eax
        jmp dword 0x08:protected
gdt_pointer:
        dw 0xfff
        dd GDT
        dd 0
idt_pointer:
        dw 0xfff
        dd IDT
        dd 0

        bits 32
protected:
        mov ax, 0x10
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov esp, STACK
        ; keep a copy of the tables as they were loaded
        mov esi, 0x1000
        mov edi, TEMPLATE
        mov ecx, 0xb000 / 4
        rep movsd
%ifdef LONG
        mov eax, 0x620                 ; PAE, OSFXSR, OSXMMEXCPT
        mov cr4, eax
        mov eax, 0x40000
        mov cr3, eax
        mov ecx, 0xc0000080
        mov eax, 0x901                 ; SCE, LME, NXE
        xor edx, edx
        wrmsr
        mov eax, 0x80000011
        mov cr0, eax
        jmp 0x18:run
        bits 64
%define ACC(x) r %+ x
%define WORD_SIZE 8
%else
        mov eax, 0x600
        mov cr4, eax
        mov eax, 0x44000
        mov cr3, eax
        mov eax, 0x80000011
        mov cr0, eax
        jmp 0x08:run
%define ACC(x) e %+ x
%define WORD_SIZE 4
%endif
%define rAX ACC(ax)
%define rCX ACC(cx)
%define rDX ACC(dx)
%define rBX ACC(bx)
%define rSP ACC(sp)
%define rBP ACC(bp)
%define rSI ACC(si)
%define rDI ACC(di)

run:
        mov dword [index], 0
next:
        mov ax, 0x10
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov fs, ax
        mov gs, ax
        mov rSP, STACK
        cld
        mov eax, [index]
        cmp eax, [CASES]
        jae finished
        shl eax, 9
        lea ebp, [rAX + CASES + CASE_SIZE]
        mov eax, [rBP]                 ; skip cases with this marker
        cmp eax, 0xffffffff
        je skip
        ; tables, stacks
        mov esi, TEMPLATE
        mov edi, 0x1000
        mov ecx, 0xb000 / 4
        rep movsd
        mov edi, 0x20000
        mov ecx, 0x6000 / 4
        xor eax, eax
        rep stosd
        ; patches: count at +8, then 12 bytes each: address, 8 bytes
        mov ecx, [rBP + 8]
        lea esi, [rBP + 0xc0]
        jecxz .done
.patch: mov edi, [rSI]
        mov eax, [rSI + 4]
        mov edx, [rSI + 8]
        mov [rDI], eax
        mov [rDI + 4], edx
        add esi, 12
        loop .patch
.done:
        ; code: length at +12, bytes at +0x40; then INT MARK
        mov ecx, [rBP + 12]
        lea esi, [rBP + 0x80]
        mov edi, CODE
        rep movsb
        mov word [rDI], 0xcd | MARK << 8
        ; system registers
        lgdt [gdt_pointer]
        lidt [idt_pointer]
        and byte [GDT + 0x38 + 5], 0xfd
        mov ax, 0x38
        ltr ax
        xor eax, eax
        lldt ax
        mov rAX, cr4
%ifdef LONG
        and eax, 0x620
%else
        and eax, 0x600
%endif
        or eax, [rBP + 0x24]
        mov cr4, rAX
        mov rAX, cr3
        mov cr3, rAX
        mov eax, 0x80000011
        or eax, [rBP + 0x20]
        mov cr0, rAX
        xor eax, eax
        mov dr7, rAX
        mov dr6, rAX
        mov cr2, rAX
%ifdef LONG
        mov ecx, 0xc0000080
        mov eax, 0x901
        xor edx, edx
        wrmsr
        mov ecx, 0xc0000081            ; STAR: kernel 18h/20h, user 23h (compatibility), 2Bh, 33h
        xor eax, eax
        mov edx, 0x00230018
        wrmsr
        inc ecx
        mov eax, 0x18000 + 16 * 0xf0
        xor edx, edx
        wrmsr
        inc ecx
        mov eax, 0x18000 + 16 * 0xf1
        wrmsr
        inc ecx
        mov eax, 0x4700
        wrmsr
        mov ecx, 0xc0000102
        mov eax, 0x12345678
        wrmsr
%endif
%ifndef LONG
        mov ecx, 0xc0000080
        xor eax, eax
        xor edx, edx
        wrmsr
%endif
        mov ecx, 0x174
        mov eax, [rBP + 0x28]
        xor edx, edx
        wrmsr
        inc ecx
        mov eax, 0x20800
        wrmsr
        inc ecx
        mov eax, 0x18000 + 16 * 0xf2
        wrmsr
        ; debug registers: DR0, DR7
        mov eax, [rBP + 0x2c]
        mov dr0, rAX
        mov eax, [rBP + 0x30]
        mov dr7, rAX
        ; where to go: SS:SP FLAGS CS:IP at +0x10.. : cs, ss, flags, sp
%ifdef LONG
        mov eax, [rBP + 0x14]
        push rax
        mov eax, [rBP + 0x1c]
        push rax
        mov eax, [rBP + 0x18]
        push rax
        mov eax, [rBP + 0x10]
        push rax
        mov eax, [rBP + 0x34]
        push rax
        movzx eax, word [rBP + 0x04]
        mov ds, ax
        mov es, ax
        mov fs, ax
        mov gs, ax
        mov rcx, [rBP + 0x48]
        mov rdx, [rBP + 0x50]
        mov rbx, [rBP + 0x58]
        mov rsi, [rBP + 0x60]
        mov rdi, [rBP + 0x68]
        xor eax, eax
        mov r8, rax
        mov r9, rax
        mov r10, rax
        mov r11, rax
        mov rax, [rBP + 0x40]
        mov rbp, [rBP + 0x70]
        iretq
%else
        mov eax, [rBP + 0x04]
        test dword [rBP + 0x18], 0x20000
        jz .flat
        push eax                       ; GS FS DS ES for virtual-8086 mode
        push eax
        push eax
        push eax
        jmp .stack
.flat:  mov edx, [rBP + 0x10]
        and edx, 3
        jnz .stack
        ; same level: no stack in the frame
        mov esp, [rBP + 0x1c]
        jmp .frame
.stack: push dword [rBP + 0x14]
        push dword [rBP + 0x1c]
.frame: push dword [rBP + 0x18]
        push dword [rBP + 0x10]
        push dword [rBP + 0x34]
        test dword [rBP + 0x18], 0x20000
        jnz .registers
        mov ds, ax
        mov es, ax
        mov fs, ax
        mov gs, ax
.registers:
        mov ecx, [ss:rBP + 0x48]
        mov edx, [ss:rBP + 0x50]
        mov ebx, [ss:rBP + 0x58]
        mov esi, [ss:rBP + 0x60]
        mov edi, [ss:rBP + 0x68]
        mov eax, [ss:rBP + 0x40]
        mov ebp, [ss:rBP + 0x70]
        iretd
%endif

skip:   inc dword [index]
        jmp next

; Every handler ends here with the vector and the error code on the stack.
taken:
%ifdef LONG
        push rax
        mov eax, ds
        push rax
        mov eax, 0x10
        mov ds, ax
        pop rax
        mov [RECORD + 20 * 8], rax
        pop rax
        mov [RECORD + 12 * 8], rax
%else
        push eax
        push ds
        mov ax, 0x10
        mov ds, ax
        pop eax
        and eax, 0xffff
        mov [RECORD + 20 * 8], eax
        pop dword [RECORD + 12 * 8]
%endif
        mov [RECORD + 13 * 8], rCX
        mov [RECORD + 14 * 8], rDX
        mov [RECORD + 15 * 8], rBX
        mov [RECORD + 16 * 8], rSP
        mov [RECORD + 17 * 8], rBP
        mov [RECORD + 18 * 8], rSI
        mov [RECORD + 19 * 8], rDI
        mov eax, es
        mov [RECORD + 21 * 8], rAX
        mov eax, fs
        mov [RECORD + 22 * 8], rAX
        mov eax, gs
        mov [RECORD + 23 * 8], rAX
        mov ax, ds
        mov es, ax
        cld
        xor eax, eax
        str ax
        mov [RECORD + 24 * 8], rAX
        sldt ax
        mov [RECORD + 25 * 8], rAX
        mov rAX, cr0
        mov [RECORD + 26 * 8], rAX
        mov rAX, cr2
        mov [RECORD + 27 * 8], rAX
        mov rAX, cr4
        mov [RECORD + 28 * 8], rAX
        mov rAX, dr6
        mov [RECORD + 29 * 8], rAX
        mov rAX, dr7
        mov [RECORD + 30 * 8], rAX
        mov eax, cs
        mov [RECORD + 31 * 8], rAX
        mov eax, ss
        mov [RECORD + 32 * 8], rAX
%ifdef LONG
        mov [RECORD + 33 * 8], r11
        mov ecx, 0xc0000101
        rdmsr
        mov [RECORD + 34 * 8], eax
        mov [RECORD + 34 * 8 + 4], edx
        mov ecx, 0xc0000080
        rdmsr
        mov [RECORD + 35 * 8], eax
%endif
        mov eax, [index]
        mov [RECORD], eax
        ; vector, error and nine words of the frame
        mov edi, RECORD + 8
        mov ecx, 11
        xor ebx, ebx
.word:  mov rAX, [ss:rSP + rBX * WORD_SIZE]
        mov [rDI], rAX
        add edi, 8
        inc ebx
        loop .word
        ; sum over the tables: accessed and busy bits, saved tasks
        mov esi, 0x1000
        mov ecx, 0xb000 / 4
        xor edx, edx
.sum:   lodsd
        rol edx, 1
        add edx, eax
        loop .sum
        mov [RECORD + 36 * 8], edx
        mov esi, RECORD
        mov ecx, 37 * 8
        mov edx, 0xe9
        rep outsb
        inc dword [index]
%ifdef LONG
        jmp next
%else
        ; clear NT and whatever else
        push dword 2
        popfd
        jmp next
%endif

finished:
        mov al, 1
        out 0xf4, al
.hang:  cli
        hlt
        jmp .hang

        align 16
index:  dd 0

; 256 handlers, copied to 18000h by the loader.
        times 0x1000 - ($ - $$) db 0
%assign v 0
%rep 256
handler_ %+ v:
%if v == 8 || (v >= 10 && v <= 14) || v == 17
%else
        push byte 0
%endif
        push dword v
%ifdef LONG
        db 0xe9
        dd taken - (0x18000 + 16 * v + ($ - handler_ %+ v) + 4)
%else
        db 0xe9
        dd taken - (0x18000 + 16 * v + ($ - handler_ %+ v) + 4)
%endif
        times 16 - ($ - handler_ %+ v) db 0x90
%assign v v + 1
%endrep
