# Start-up of the benchmark guests: loaded at 1 MiB by a Multiboot loader (a.out fields, so that a flat image will do), by our
# own boot sector, or entered at entry64 in long mode.  Switches to long mode with the first 4 GiB mapped by 2 MiB pages.

        .section .start, "ax"
        .code32
        .globl _start
_start: jmp     go32

        .balign 4
header: .long   0x1badb002              # Multiboot 1, section 3.1.1
        .long   0x00010003
        .long   -(0x1badb002 + 0x00010003)
        .long   header, _start, _data_end, _bss_end, _start

go32:   cli
        movl    $stack_top, %esp
        # Page tables: one PML4, one PDPT, four page directories of 2 MiB pages.
        movl    $pdpt + 3, pml4
        movl    $pd + 3, %eax
        movl    $pdpt, %edi
        movl    $4, %ecx
1:      movl    %eax, (%edi)
        addl    $4096, %eax
        addl    $8, %edi
        loop    1b
        movl    $pd, %edi
        movl    $0x83, %eax
        movl    $2048, %ecx
2:      movl    %eax, (%edi)
        movl    $0, 4(%edi)
        addl    $8, %edi
        addl    $0x200000, %eax
        loop    2b
        movl    $pml4, %eax
        movl    %eax, %cr3
        movl    %cr4, %eax
        orl     $0x620, %eax            # PAE, OSFXSR, OSXMMEXCPT
        movl    %eax, %cr4
        movl    $0xc0000080, %ecx
        rdmsr
        orl     $0x100, %eax            # LME
        wrmsr
        movl    %cr0, %eax
        andl    $~0x0c, %eax            # EM, TS off
        orl     $0x80010022, %eax       # PG, WP, NE, MP
        movl    %eax, %cr0
        lgdt    gdt_pointer
        ljmp    $8, $entry64

        .code64
        .globl entry64
entry64:
        movl    $16, %eax
        movl    %eax, %ss
        movl    %eax, %ds
        movl    %eax, %es
        movq    $stack_top, %rsp
        fninit
        call    guest_main
3:      hlt
        jmp     3b

        .balign 8
        .globl gdt
gdt:    .quad   0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
        .word   23
        .long   gdt

        .bss
        .balign 4096
        .globl pml4
pml4:   .skip   4096
pdpt:   .skip   4096
        .globl pd
pd:     .skip   4 * 4096
        .skip   65536
stack_top:
