# Boot sector: reads the benchmark image from the disk that it came from to 1 MiB, 64 sectors at a time, and enters it in protected mode.
        .code16
        .globl _start
_start: cli
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $0x7c00, %sp
        movb    %dl, drive
        inb     $0x92, %al
        orb     $2, %al
        outb    %al, $0x92
        lgdt    gdtp
        movl    %cr0, %eax              # unreal mode: 4 GiB limits for the copies
        orb     $1, %al
        movl    %eax, %cr0
        movw    $16, %bx
        movw    %bx, %ds
        movw    %bx, %es
        andb    $0xfe, %al
        movl    %eax, %cr0
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movl    $0x100000, %ebp
1:      movb    drive, %dl
        movw    $packet, %si
        movb    $0x42, %ah
        int     $0x13
        jc      9f
        cli
        movl    $0x10000, %esi
        movl    %ebp, %edi
        movl    $0x2000, %ecx
        addr32 rep movsl
        movl    %edi, %ebp
        addl    $64, lba
        decw    chunks
        jnz     1b
        movl    %cr0, %eax
        orb     $1, %al
        movl    %eax, %cr0
        ljmpl   $8, $2f
        .code32
2:      movw    $16, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movl    $0x100000, %eax
        jmp     *%eax
        .code16
9:      hlt
        jmp     9b
drive:  .byte   0
        .balign 8
gdt0:   .quad   0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtp:   .word   23
        .long   gdt0
packet: .word   16, 64, 0, 0x1000
lba:    .long   1, 0
chunks: .word   CHUNKS
        .org    510
        .word   0xaa55
