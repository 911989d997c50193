# The demo guest, first part: 16-bit real mode at 0000:7C00, loaded by the BIOS from sector 0 of the disk.
# The first sector loads the rest; the second, right behind it, does the talking.
# keystone, Intel syntax.  Its 16-bit CALL has a 32-bit operand, so RET gets the operand size prefix too.

        cli
        xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, 0x7c00
        sti
        cld
        mov byte ptr [drive], dl
        mov ah, 0x42
        lea si, [packet]
        int 0x13
        jc stop
        jmp talk
stop:
        hlt
        jmp stop

# Disk address packet: sectors 1 to 14 to 0000:7E00.
packet:
        .byte 16, 0
        .word 14, 0x7e00, 0
        .quad 1
drive:
        .byte 0

        .org 0x7dfe
        .word 0xaa55

# The second sector, at 0000:7E00.
talk:
# COM1: 115200 baud, 8N1, FIFO on.
        mov dx, 0x3fb
        mov al, 0x83
        out dx, al
        mov dx, 0x3f8
        mov al, 1
        out dx, al
        mov dx, 0x3f9
        xor al, al
        out dx, al
        mov dx, 0x3fb
        mov al, 3
        out dx, al
        mov dx, 0x3fa
        mov al, 7
        out dx, al
        mov dx, 0x3fc
        mov al, 3
        out dx, al

        lea si, [text_hello]
        call print

        lea si, [text_memory]
        call print
        int 0x12
        call decimal
        lea si, [text_kib]
        call print

# Sector 15 (cylinder 0, head 0, sector 16) by the oldest of the disk calls.
        mov ax, 0x0201
        mov bx, 0x0600
        mov cx, 16
        mov dh, 0
        mov dl, byte ptr [drive]
        int 0x13
        jc stop
        lea si, [text_disk]
        call print
        mov si, 0x0600
        call print

# Two ticks of the BIOS clock.
        xor ax, ax
        int 0x1a
        mov di, dx
ticking:
        hlt
        xor ax, ax
        int 0x1a
        sub dx, di
        cmp dx, 2
        jb ticking
        lea si, [text_ticks]
        call print

# Protected mode: flat segments; interrupts stay off until the 64-bit part has its own table.
        cli
        lgdt [gdt_register]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        ljmp 8:0x8000

# Prints the text at SI up to its final zero.
print:
        lodsb
        test al, al
        jz printed
        call put
        jmp print
printed:
        .byte 0x66
        ret

# Sends AL when COM1 is ready for it.
put:
        mov ah, al
        mov dx, 0x3fd
busy:
        in al, dx
        test al, 0x20
        jz busy
        mov dx, 0x3f8
        mov al, ah
        out dx, al
        .byte 0x66
        ret

# Prints AX in decimal.
decimal:
        xor cx, cx
        mov bx, 10
divide:
        xor dx, dx
        div bx
        push dx
        inc cx
        test ax, ax
        jnz divide
digits:
        pop ax
        add al, 0x30
        call put
        dec cx
        jnz digits
        .byte 0x66
        ret

        .align 8
# Null, 32-bit code, data, 64-bit code.
gdt:
        .quad 0
        .quad 0x00cf9b000000ffff
        .quad 0x00cf93000000ffff
        .quad 0x00af9b000000ffff
gdt_register:
        .word 31
        .long gdt

text_hello:
        .asciz "\r\nreal mode:      booted from the disk to 0000:7C00\r\n"
text_memory:
        .asciz "                INT 12h: "
text_kib:
        .asciz " KiB\r\n"
text_disk:
        .asciz "                INT 13h: "
text_ticks:
        .asciz "                INT 1Ah: two ticks of 55 ms\r\n"
