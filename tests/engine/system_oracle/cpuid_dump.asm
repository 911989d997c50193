; Writes every CPUID leaf (with subleaves 0 to 9) to port E9h as six double words: leaf, subleaf, EAX, EBX, ECX, EDX.
; It is loaded at 60000h and entered in real mode.
        bits 16
        org 0
start:  cli
        mov ax, cs
        mov ds, ax
        mov ss, ax
        mov sp, 0x8000
        cld
        xor eax, eax
        call range
        mov eax, 0x40000000
        call range
        mov eax, 0x80000000
        call range
        mov al, 1
        out 0xf4, al
.hang:  hlt
        jmp .hang

; Leaves from EAX to the highest of its class, which leaf EAX names.
range:  mov [leaf], eax
        xor ecx, ecx
        cpuid
        cmp eax, [leaf]                ; a class that is not there answers with something else
        jae .there
        mov eax, [leaf]
.there: mov [top], eax
.next:  mov dword [subleaf], 0
.again: mov eax, [leaf]
        mov ecx, [subleaf]
        cpuid
        mov [result], eax
        mov [result + 4], ebx
        mov [result + 8], ecx
        mov [result + 12], edx
        mov si, leaf
        mov cx, 24
        mov dx, 0xe9
        rep outsb
        inc dword [subleaf]
        cmp dword [subleaf], 10
        jb .again
        inc dword [leaf]
        mov eax, [leaf]
        cmp eax, [top]
        jbe .next
        ret

        align 4
leaf:   dd 0
subleaf: dd 0
result: dd 0, 0, 0, 0
top:    dd 0
