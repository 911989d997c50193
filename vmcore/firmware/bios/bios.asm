; The built-in BIOS of vmcore: what a boot sector or a kernel's real-mode code needs, and no more.
;
; nasm syntax; bios.bin beside this file holds its bytes and a test holds the two together:
;     nasm -f bin -o bios.bin bios.asm
;
; The 8 KiB end at the top of the first megabyte (F000:E000 to F000:FFFF).  The table `config` is filled in by rom.py.
; Sources: IBM PC AT Technical Reference (1985) for interrupts, BIOS data area and fixed addresses; ACPI specification
; 6.5, section 15 for INT 15h E820h and 5.2.10 for the way back from sleep; "Enhanced Disk Drive" (T13 1572D) for INT 13h 41h-48h; R. Brown's interrupt list
; for what programs expect beyond these.  Disks are reached through the port device in vmcore/devices/bios_disk.py.

        bits 16
        cpu 386
        org 0xE000

; ---------------------------------------------------------------------------------------------------- constants

PIC1            equ 0x20
PIC2            equ 0xA0
PIT             equ 0x40
KBD_DATA        equ 0x60
KBD_STATUS      equ 0x64
CMOS            equ 0x70
PORT_A          equ 0x92
CRTC            equ 0x3D4

; BIOS data area, from segment 40h.
BDA             equ 0x40
B_COM           equ 0x00
B_EBDA          equ 0x0E
B_EQUIPMENT     equ 0x10
B_MEMORY        equ 0x13
B_SHIFT         equ 0x17
B_SHIFT2        equ 0x18
B_ALT_NUMBER    equ 0x19
B_HEAD          equ 0x1A
B_TAIL          equ 0x1C
B_BUFFER        equ 0x1E
B_FLOPPY_STATUS equ 0x41
B_MODE          equ 0x49
B_COLUMNS       equ 0x4A
B_PAGE_SIZE     equ 0x4C
B_PAGE_START    equ 0x4E
B_CURSOR        equ 0x50
B_SHAPE         equ 0x60
B_PAGE          equ 0x62
B_CRTC          equ 0x63
B_RESUME        equ 0x67
B_TICKS         equ 0x6C
B_MIDNIGHT      equ 0x70
B_WARM          equ 0x72
B_DISK_STATUS   equ 0x74
B_DISKS         equ 0x75
B_BUFFER_START  equ 0x80
B_BUFFER_END    equ 0x82
B_ROWS          equ 0x84
B_HEIGHT        equ 0x85
B_SHIFT3        equ 0x96

; Ports of the disk device, from its base.
D_UNIT          equ 0x00
D_COMMAND       equ 0x01
D_COUNT         equ 0x02
D_LBA           equ 0x04
D_LBA_HIGH      equ 0x08
D_DATA          equ 0x0C
D_SECTORS       equ 0x10
D_SECTORS_HIGH  equ 0x14
D_CYLINDERS     equ 0x18
D_HEADS         equ 0x1A
D_TRACK         equ 0x1C
D_KIND          equ 0x1E

DISK_READ       equ 1
DISK_WRITE      equ 2
DISK_VERIFY     equ 3

; Flags in config.
MIRROR          equ 1           ; teletype output also goes to COM1
SCREEN          equ 2           ; there is a CRT controller
DIRECT          equ 4           ; start at config.ip instead of booting from a disk

; ---------------------------------------------------------------------------------------------------- frames

; Handlers that return values work on a frame: the caller's registers by name through BP.
F_EDI           equ 0
F_ESI           equ 4
F_EBP           equ 8
F_EBX           equ 16
F_EDX           equ 20
F_ECX           equ 24
F_EAX           equ 28
F_ES            equ 32
F_DS            equ 34
F_FLAGS         equ 40

%define arg_ax  word [bp + F_EAX]
%define arg_al  byte [bp + F_EAX]
%define arg_ah  byte [bp + F_EAX + 1]
%define arg_eax dword [bp + F_EAX]
%define arg_bx  word [bp + F_EBX]
%define arg_bl  byte [bp + F_EBX]
%define arg_bh  byte [bp + F_EBX + 1]
%define arg_ebx dword [bp + F_EBX]
%define arg_cx  word [bp + F_ECX]
%define arg_cl  byte [bp + F_ECX]
%define arg_ch  byte [bp + F_ECX + 1]
%define arg_ecx dword [bp + F_ECX]
%define arg_dx  word [bp + F_EDX]
%define arg_dl  byte [bp + F_EDX]
%define arg_dh  byte [bp + F_EDX + 1]
%define arg_edx dword [bp + F_EDX]
%define arg_si  word [bp + F_ESI]
%define arg_di  word [bp + F_EDI]
%define arg_bp  word [bp + F_EBP]
%define arg_es  word [bp + F_ES]
%define arg_ds  word [bp + F_DS]
%define flags   byte [bp + F_FLAGS]
%define F_SCRATCH word [bp + 12]                ; the place of ESP, which POPAD skips

%macro  FRAME 0
        push ds
        push es
        pushad
        mov bp, sp
        cld
        mov ax, BDA
        mov ds, ax
        mov eax, [bp + F_EAX]
%endmacro

%macro  UNFRAME 0
        popad
        pop es
        pop ds
        iret
%endmacro

%macro  SET_CARRY 0
        or flags, 1
%endmacro

%macro  CLEAR_CARRY 0
        and flags, 0xFE
%endmacro

; Goes to a handler if AH is this function.
%macro  CASE 2
        cmp ah, %1
        je near %2
%endmacro

        db "vmcore BIOS", 0

        times 0x5B - ($ - $$) db 0

; ---------------------------------------------------------------------------------------------------- power-on

; F000:E05B, where reset begins.
post:
        cli
        cld
        ; A shutdown code in CMOS byte 0Fh asks for a return to real-mode code instead of a boot.
        mov al, 0x8F
        out CMOS, al
        in al, CMOS + 1
        mov ah, al
        mov al, 0x8F
        out CMOS, al
        xor al, al
        out CMOS + 1, al
        mov bx, BDA
        mov ds, bx
        cmp ah, 0xFE
        je wake
        cmp ah, 0x0A
        je .resume
        cmp ah, 0x05
        jne .boot
        mov al, 0x20
        out PIC2, al
        out PIC1, al
.resume:
        jmp far [B_RESUME]

.boot:
        xor ax, ax
        mov ss, ax
        mov sp, 0x7C00
        mov es, ax

        ; Interrupt vectors: all to `ignore`, 60h-67h empty for programs, then those that have a handler.
        xor di, di
        mov cx, 256
.vector:
        mov ax, ignore
        stosw
        mov ax, cs
        stosw
        loop .vector
        mov di, 0x60 * 4
        mov cx, 8 * 2
        xor ax, ax
        rep stosw
        mov si, vectors
.handler:
        cs lodsw
        cmp ax, -1
        je .vectors_done
        mov di, ax
        cs lodsw
        stosw
        jmp .handler
.vectors_done:

        ; BIOS data area.
        mov ax, BDA
        mov es, ax
        push word [B_WARM]
        xor ax, ax
        xor di, di
        mov cx, 0x80
        rep stosw
        pop word [B_WARM]
        mov si, config.com
        xor di, di
        mov cx, 4
.com:
        cs lodsw
        stosw
        loop .com
        mov ax, [cs:config.ebda]
        mov [B_EBDA], ax
        mov ax, [cs:config.equipment]
        mov [B_EQUIPMENT], ax
        mov ax, [cs:config.memory]
        mov [B_MEMORY], ax
        mov ax, B_BUFFER
        mov [B_HEAD], ax
        mov [B_TAIL], ax
        mov [B_BUFFER_START], ax
        mov word [B_BUFFER_END], B_BUFFER + 32
        mov byte [B_SHIFT3], 0x10               ; an enhanced keyboard

        ; The extended area: its size in KiB.
        mov ax, [B_EBDA]
        test ax, ax
        jz .no_ebda
        mov es, ax
        mov byte [es:0], 1
.no_ebda:

        ; Gate A20 open, interrupt controllers at vectors 08h and 70h, timer at 18.2 Hz.
        in al, PORT_A
        or al, 2
        and al, 0xFE
        out PORT_A, al
        mov al, 0x11
        out PIC1, al
        out PIC2, al
        mov al, 0x08
        out PIC1 + 1, al
        mov al, 0x70
        out PIC2 + 1, al
        mov al, 0x04
        out PIC1 + 1, al
        mov al, 0x02
        out PIC2 + 1, al
        mov al, 0x01
        out PIC1 + 1, al
        out PIC2 + 1, al
        mov al, 0xF8
        out PIC1 + 1, al
        mov al, 0xFF
        out PIC2 + 1, al
        mov al, 0x34
        out PIT + 3, al
        xor al, al
        out PIT, al
        out PIT, al

        call keyboard_setup
        call serial_setup
        call video_setup
        mov ax, 3
        int 0x10
        call clock_setup
        call disk_setup
        sti

        test byte [cs:config.flags], DIRECT
        jnz .direct
        int 0x19

.direct:
        cli
        mov ss, [cs:config.ss]
        mov sp, [cs:config.sp]
        mov ax, [cs:config.data]
        mov ds, ax
        mov es, ax
        mov fs, ax
        mov gs, ax
        xor eax, eax
        xor ebx, ebx
        xor ecx, ecx
        movzx edx, byte [cs:config.boot_drive]
        xor esi, esi
        xor edi, edi
        xor ebp, ebp
        jmp far [cs:config.ip]

; Shutdown code FEh: the machine wakes from ACPI S3 and memory holds what it held.  The system has written to the FACS
; where it goes on: in real mode, or with the long vector in flat 32-bit mode.  Nothing but the area of the BIOS is
; written to, so there is no stack.
wake:
        mov esi, [cs:config.facs]
        test esi, esi
        jz post.boot
        mov dx, [cs:config.smi]
        mov al, [cs:config.acpi_enable]         ; The system finds ACPI mode on.
        out dx, al
        o32 lgdt [cs:flat_gdt_register]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        mov bx, 8
        mov ds, bx
        a32 mov edi, [esi + 12]
        a32 mov ecx, [esi + 24]
        test ecx, ecx
        jnz .flat
        mov bx, 16
        mov ds, bx
        and al, 0xFE
        mov cr0, eax
        mov bx, BDA
        mov ds, bx
        test edi, edi
        jz post.boot
        mov ax, di
        and ax, 15
        mov [B_RESUME], ax
        shr edi, 4
        mov [B_RESUME + 2], di
        jmp far [B_RESUME]
.flat:
        mov bx, 32
        mov ds, bx
        mov es, bx
        mov fs, bx
        mov gs, bx
        mov ss, bx
        jmp dword 24:0xF0000 + .flat_code
        bits 32
.flat_code:
        jmp ecx
        bits 16

; Vector table: (offset in the interrupt table, handler).
vectors:
%macro  VECTOR 2
        dw %1 * 4, %2
%endmacro
        VECTOR 0x08, int08
        VECTOR 0x09, int09
        VECTOR 0x0A, irq_master
        VECTOR 0x0B, irq_master
        VECTOR 0x0C, irq_master
        VECTOR 0x0D, irq_master
        VECTOR 0x0E, irq_master
        VECTOR 0x0F, irq_master
        VECTOR 0x10, int10
        VECTOR 0x11, int11
        VECTOR 0x12, int12
        VECTOR 0x13, int13
        VECTOR 0x14, int14
        VECTOR 0x15, int15
        VECTOR 0x16, int16
        VECTOR 0x17, int17
        VECTOR 0x18, int18
        VECTOR 0x19, int19
        VECTOR 0x1A, int1a
        VECTOR 0x1E, diskette_table
        VECTOR 0x40, int13
        VECTOR 0x70, int70
        VECTOR 0x71, int71
        VECTOR 0x72, irq_slave
        VECTOR 0x73, irq_slave
        VECTOR 0x74, irq_slave
        VECTOR 0x75, int75
        VECTOR 0x76, irq_slave
        VECTOR 0x77, irq_slave
        dw -1

ignore:
        iret

irq_slave:
        push ax
        mov al, 0x20
        out PIC2, al
        out PIC1, al
        pop ax
        iret

irq_master:
        push ax
        mov al, 0x20
        out PIC1, al
        pop ax
        iret

; IRQ 9 stands in for IRQ 2, which the cascade took.
int71:
        push ax
        mov al, 0x20
        out PIC2, al
        pop ax
        int 0x0A
        iret

; IRQ 13: the coprocessor's error; programs expect an NMI.
int75:
        push ax
        xor al, al
        out 0xF0, al
        mov al, 0x20
        out PIC2, al
        out PIC1, al
        pop ax
        int 0x02
        iret

; ---------------------------------------------------------------------------------------------------- small set-up

; 8042: self-test, keyboard on with translation and its interrupt.  Without a controller its ports read FFh.
keyboard_setup:
        in al, KBD_STATUS
        cmp al, 0xFF
        je .none
        mov cx, 64
.drain:
        in al, KBD_STATUS
        test al, 1
        jz .empty
        in al, KBD_DATA
        loop .drain
.empty:
        mov al, 0xAA
        call keyboard_command
        call keyboard_answer
        mov al, 0xAE
        call keyboard_command
        mov al, 0x60
        call keyboard_command
        mov al, 0x65
        call keyboard_send
        mov al, 0xF4
        call keyboard_send
        call keyboard_answer
.none:
        ret

keyboard_command:
        call keyboard_ready
        out KBD_STATUS, al
        ret

keyboard_send:
        call keyboard_ready
        out KBD_DATA, al
        ret

; Waits until the controller takes a byte.  Bounded: a broken controller must not stop the boot.
keyboard_ready:
        push ax
        push cx
        mov cx, 0x1000
.wait:
        in al, KBD_STATUS
        test al, 2
        loopnz .wait
        pop cx
        pop ax
        ret

; Waits for a byte from the controller and takes it to AL.
keyboard_answer:
        mov cx, 0x1000
.wait:
        in al, KBD_STATUS
        test al, 1
        loopz .wait
        in al, KBD_DATA
        ret

; A video BIOS at C0000h takes INT 10h over; its entry gets the adapter's PCI address in AX.  Not where the teletype is
; mirrored: that is done by the handler in here.
video_setup:
        test byte [cs:config.flags], MIRROR
        jnz .none
        mov ax, 0xC000
        mov es, ax
        cmp word [es:0], 0xAA55
        jne .none
        mov bx, BIG
        call segment_limits
        mov ax, [cs:config.video]
        call 0xC000:0x0003
        cli
        mov bx, SMALL
        call segment_limits
        cld
        mov ax, BDA
        mov ds, ax
.none:
        ret

; Data segments with the limits of descriptor BX and base 0: an initialising ROM reaches registers anywhere.  Changes EAX, BX.
segment_limits:
        lgdt [cs:limits_table]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        jmp short .protected
.protected:
        mov ds, bx
        mov es, bx
        mov fs, bx
        mov gs, bx
        mov ss, bx
        and al, 0xFE
        mov cr0, eax
        jmp short .real
.real:
        xor bx, bx
        mov ds, bx
        mov es, bx
        mov fs, bx
        mov gs, bx
        mov ss, bx
        ret

limits_table:
        dw 3 * 8 - 1
        dd 0xF0000 + limits
limits:
        dq 0
BIG     equ $ - limits
        dw 0xFFFF, 0, 0x9200, 0x008F
SMALL   equ $ - limits
        dw 0xFFFF, 0, 0x9200, 0x0000

; COM1 at 115200 8N1 where the teletype is mirrored to it.
serial_setup:
        test byte [cs:config.flags], MIRROR
        jz .done
        mov dx, [B_COM]
        test dx, dx
        jz .done
        add dx, 3
        mov al, 0x83
        out dx, al
        sub dx, 3
        mov al, 1
        out dx, al
        inc dx
        xor al, al
        out dx, al
        add dx, 2
        mov al, 3
        out dx, al
        inc dx
        out dx, al
.done:
        ret

; The tick count since midnight, from the clock: seconds * 1193182 / 65536.
clock_setup:
        call clock_stable
        jc .none
        mov al, 4
        call cmos_number
        movzx eax, al
        imul ebx, eax, 3600
        mov al, 2
        call cmos_number
        movzx eax, al
        imul eax, eax, 60
        add ebx, eax
        mov al, 0
        call cmos_number
        movzx eax, al
        add eax, ebx
        mov ebx, 1193182
        mul ebx
        shrd eax, edx, 16
        mov [B_TICKS], eax
.none:
        ret

; How many floppies and hard disks there are.
disk_setup:
        mov dx, [cs:config.disk]
        xor cx, cx
.floppy:
        mov al, cl
        call disk_kind
        jz .floppies
        inc cx
        cmp cl, 2
        jb .floppy
.floppies:
        jcxz .no_floppy
        dec cx
        shl cx, 6
        or cl, 1
        or [B_EQUIPMENT], cx
.no_floppy:
        mov cx, 0x80
.hard:
        mov al, cl
        call disk_kind
        jz .hard_done
        inc cx
        cmp cl, 0x88
        jb .hard
.hard_done:
        sub cl, 0x80
        mov [B_DISKS], cl
        ret

; AL: unit.  Selects it; AL: its kind, ZF if there is none.  DX: base of the disk device, kept.
disk_kind:
        out dx, al
        push dx
        add dx, D_KIND
        in al, dx
        pop dx
        cmp al, 0xFF
        je .absent
        and al, 0x7F
        ret
.absent:
        xor al, al
        ret

; ---------------------------------------------------------------------------------------------------- INT 08h, 1Ah

int08:
        push ds
        push eax
        push dx
        mov ax, BDA
        mov ds, ax
        mov eax, [B_TICKS]
        inc eax
        cmp eax, 0x1800B0
        jb .same_day
        xor eax, eax
        inc byte [B_MIDNIGHT]
.same_day:
        mov [B_TICKS], eax
        int 0x1C
        cli
        mov al, 0x20
        out PIC1, al
        pop dx
        pop eax
        pop ds
        iret

; IRQ 8: alarm and periodic interrupt of the clock.
int70:
        push ax
        mov al, 0x0C
        call cmos_read
        test al, 0x20
        jz .no_alarm
        int 0x4A
.no_alarm:
        cli
        mov al, 0x20
        out PIC2, al
        out PIC1, al
        pop ax
        iret

; AL: CMOS address.  AL: content.  Interrupts stay as they are; NMI is enabled afterwards.
cmos_read:
        pushf
        cli
        out CMOS, al
        in al, CMOS + 1
        popf
        ret

; AL: CMOS address, AH: content.
cmos_write:
        pushf
        cli
        out CMOS, al
        mov al, ah
        out CMOS + 1, al
        popf
        ret

; AL: CMOS address of a time field.  AL: its value in binary (a 12-hour clock is not used by this BIOS).
cmos_number:
        call cmos_read
        mov ah, al
        mov al, 0x0B
        push ax
        call cmos_read
        mov cl, al
        pop ax
        mov al, ah
        test cl, 4
        jnz .binary
        mov ah, al
        and al, 0x0F
        shr ah, 4
        mov ch, al
        mov al, ah
        mov ah, 10
        mul ah
        add al, ch
.binary:
        ret

; AL: CMOS address.  AL: its value in BCD, whatever the clock's format is.
cmos_bcd:
        push cx
        push ax
        mov al, 0x0B
        call cmos_read
        mov cl, al
        pop ax
        call cmos_read
        test cl, 4
        jz .done
        aam
        shl ah, 4
        or al, ah
.done:
        pop cx
        ret

; Waits until no update is in progress.  Carry if there is no clock or it does not run.
clock_stable:
        push ax
        push cx
        mov al, 0x0D
        call cmos_read
        cmp al, 0xFF
        je .dead
        mov cx, 0xFFFF
.wait:
        mov al, 0x0A
        call cmos_read
        test al, 0x80
        loopnz .wait
        jnz .dead
        clc
        jmp .done
.dead:
        stc
.done:
        pop cx
        pop ax
        ret

int1a:
        FRAME
        CLEAR_CARRY
        CASE 0x00, .get_ticks
        CASE 0x01, .set_ticks
        CASE 0x02, .get_time
        CASE 0x03, .set_time
        CASE 0x04, .get_date
        CASE 0x05, .set_date
        CASE 0x06, .set_alarm
        CASE 0x07, .cancel_alarm
.fail:
        SET_CARRY
        UNFRAME

.get_ticks:
        cli
        mov eax, [B_TICKS]
        mov arg_dx, ax
        shr eax, 16
        mov arg_cx, ax
        mov al, [B_MIDNIGHT]
        mov arg_al, al
        mov byte [B_MIDNIGHT], 0
        UNFRAME

.set_ticks:
        mov ax, arg_cx
        shl eax, 16
        mov ax, arg_dx
        cli
        mov [B_TICKS], eax
        mov byte [B_MIDNIGHT], 0
        UNFRAME

.get_time:
        call clock_stable
        jc .fail
        mov al, 4
        call cmos_bcd
        mov arg_ch, al
        mov al, 2
        call cmos_bcd
        mov arg_cl, al
        mov al, 0
        call cmos_bcd
        mov arg_dh, al
        mov al, 0x0B
        call cmos_read
        and al, 1
        mov arg_dl, al
        UNFRAME

.get_date:
        call clock_stable
        jc .fail
        mov al, 0x32
        call cmos_bcd
        mov arg_ch, al
        mov al, 9
        call cmos_bcd
        mov arg_cl, al
        mov al, 8
        call cmos_bcd
        mov arg_dh, al
        mov al, 7
        call cmos_bcd
        mov arg_dl, al
        UNFRAME

; Register B: SET while fields change, BCD and 24 hours afterwards.
.set_time:
        call .hold
        mov al, 4
        mov ah, arg_ch
        call cmos_write
        mov al, 2
        mov ah, arg_cl
        call cmos_write
        mov al, 0
        mov ah, arg_dh
        call cmos_write
        mov bl, arg_dl
        and bl, 1
        and bh, 0x7E
        or bh, bl
        jmp .release

.set_date:
        call .hold
        mov al, 0x32
        mov ah, arg_ch
        call cmos_write
        mov al, 9
        mov ah, arg_cl
        call cmos_write
        mov al, 8
        mov ah, arg_dh
        call cmos_write
        mov al, 7
        mov ah, arg_dl
        call cmos_write
        and bh, 0x7F
.release:
        mov al, 0x0B
        mov ah, bh
        call cmos_write
        UNFRAME

.hold:
        mov al, 0x0B
        call cmos_read
        and al, 0xFB
        or al, 0x02
        mov bh, al
        mov ah, al
        or ah, 0x80
        mov al, 0x0B
        jmp cmos_write

.set_alarm:
        mov al, 0x0B
        call cmos_read
        test al, 0x20
        jnz .fail
        mov bh, al
        mov al, 5
        mov ah, arg_ch
        call cmos_write
        mov al, 3
        mov ah, arg_cl
        call cmos_write
        mov al, 1
        mov ah, arg_dh
        call cmos_write
        or bh, 0x20
        in al, PIC2 + 1
        and al, 0xFE
        out PIC2 + 1, al
        jmp .release

.cancel_alarm:
        mov al, 0x0B
        call cmos_read
        and al, 0xDF
        mov bh, al
        jmp .release

; ---------------------------------------------------------------------------------------------------- INT 11h, 12h

int11:
        push ds
        mov ax, BDA
        mov ds, ax
        mov ax, [B_EQUIPMENT]
        pop ds
        iret

int12:
        push ds
        mov ax, BDA
        mov ds, ax
        mov ax, [B_MEMORY]
        pop ds
        iret

; ---------------------------------------------------------------------------------------------------- INT 09h, 16h

; IRQ 1: one scan code (set 1) becomes a change of the shift state or an entry of the buffer.
int09:
        push ds
        push es
        pusha
        cld
        mov ax, BDA
        mov ds, ax
        in al, KBD_DATA
        ; INT 15h 4Fh lets a program see, change or drop (carry clear) the scan code.
        mov ah, 0x4F
        stc
        int 0x15
        jnc .done
        call key
.done:
        cli
        mov al, 0x20
        out PIC1, al
        popa
        pop es
        pop ds
        iret

; AL: scan code.
key:
        cmp al, 0xE0
        jne .not_prefix
        or byte [B_SHIFT3], 2
        ret
.not_prefix:
        cmp al, 0xE1
        jne .not_pause
        or byte [B_SHIFT3], 1
        ret
.not_pause:
        mov bl, [B_SHIFT3]
        and byte [B_SHIFT3], 0xFC
        test bl, 1
        jz .plain
        ; Pause sends E1 1D 45 E1 9D C5: both sequences are dropped.
        and al, 0x7F
        cmp al, 0x1D
        jne .drop
        or byte [B_SHIFT3], 1
.drop:
        ret
.plain:
        ; Shift keys: (scan code, bit).  A released key has bit 7.
        mov ah, al
        and ah, 0x7F
        mov si, shift_keys
        mov cx, SHIFT_KEYS
.shift:
        cmp ah, [cs:si]
        je .is_shift
        add si, 2
        loop .shift
        mov si, toggle_keys
        mov cx, TOGGLE_KEYS
.toggle:
        cmp ah, [cs:si]
        je .is_toggle
        add si, 2
        loop .toggle
        test al, 0x80
        jnz .drop
        jmp key_press

.is_shift:
        test bl, 2
        jz .not_fake
        cmp ah, 0x2A                            ; E0 2A and E0 36 only surround grey keys
        je .drop
        cmp ah, 0x36
        je .drop
.not_fake:
        mov ah, [cs:si + 1]
        test al, 0x80
        jnz .released
        or [B_SHIFT], ah
        ret
.released:
        not ah
        and [B_SHIFT], ah
        ret

.is_toggle:
        mov ah, [cs:si + 1]
        test al, 0x80
        jnz .toggle_up
        test [B_SHIFT2], ah
        jnz .drop                               ; a repetition
        or [B_SHIFT2], ah
        xor [B_SHIFT], ah
        ret
.toggle_up:
        not ah
        and [B_SHIFT2], ah
        ret

shift_keys:
        db 0x2A, 0x02, 0x36, 0x01, 0x1D, 0x04, 0x38, 0x08
SHIFT_KEYS      equ ($ - shift_keys) / 2
toggle_keys:
        db 0x3A, 0x40, 0x45, 0x20, 0x46, 0x10
TOGGLE_KEYS     equ ($ - toggle_keys) / 2

; AL: scan code of a pressed key, BL: bit 1 if it had the prefix E0.
key_press:
        mov bh, [B_SHIFT]
        ; Control, Alt and Delete together start anew.
        cmp al, 0x53
        jne .no_reset
        mov ah, bh
        and ah, 0x0C
        cmp ah, 0x0C
        jne .no_reset
        mov word [B_WARM], 0x1234
        jmp 0xF000:0xFFF0
.no_reset:
        cmp al, 0x59
        jae .drop
        mov ah, al                              ; AH: scan code, AL: character
        test bl, 2
        jnz .extended
        cmp al, 0x3B
        jae .function
        xor ch, ch
        mov cl, al
        mov si, cx
        test bh, 0x08
        jnz .alt
        test bh, 0x04
        jnz .control
        mov al, [cs:plain_keys + si]
        mov dl, al
        or dl, 0x20
        cmp dl, 'a'
        jb .symbol
        cmp dl, 'z'
        ja .symbol
        ; Letters: Shift and Caps Lock cancel each other.
        test bh, 0x40
        jz .letter_shift
        xor al, 0x20
.letter_shift:
        test bh, 0x03
        jz .store
        xor al, 0x20
        jmp .store
.symbol:
        test bh, 0x03
        jz .store
        mov al, [cs:shifted_keys + si]
        cmp ah, 0x0F
        jne .store
        xor al, al                              ; Shift Tab has no character
.store:
        test ax, ax
        jz .drop
        jmp key_store
.drop:
        ret

.alt:
        cmp ah, 0x39
        je .alt_space
        xor al, al
        ; Alt with a digit of the top row has codes of its own.
        cmp ah, 0x02
        jb .store
        cmp ah, 0x0D
        ja .store
        add ah, 0x76
        jmp .store
.alt_space:
        mov al, ' '
        jmp .store

.control:
        mov al, [cs:plain_keys + si]
        mov dl, al
        cmp dl, 'a'
        jb .control_symbol
        cmp dl, 'z'
        ja .control_symbol
        and al, 0x1F
        jmp .store
.control_symbol:
        mov si, control_keys
.control_next:
        cs lodsw
        test al, al
        jz .drop
        cmp al, dl
        jne .control_next
        mov al, ah
        mov ah, cl
        cmp dl, '2'
        jne .store
        mov ax, 0x0300
        jmp .store

; Grey keys with prefix E0: character E0h or, for Enter and /, their own.
.extended:
        cmp al, 0x1C
        je .grey_enter
        cmp al, 0x35
        je .grey_slash
        cmp al, 0x47
        jb .drop
        cmp al, 0x53
        ja .drop
        call keypad_code
        test ah, ah
        jz .drop
        mov al, 0xE0
        jmp .store
.grey_enter:
        mov ax, 0xE00D
        jmp .store
.grey_slash:
        mov ax, 0xE02F
        jmp .store

.function:
        cmp al, 0x44
        jbe .f1_f10
        cmp al, 0x57
        jae .f11
        cmp al, 0x47
        jb .drop
        cmp al, 0x53
        ja .drop
        ; Keypad: digits when Num Lock or Shift is on, but not both.
        mov dl, bh
        test dl, 0x0C
        jnz .keypad_plain
        mov dh, 0
        test dl, 0x20
        jz .no_num
        inc dh
.no_num:
        test dl, 0x03
        jz .no_shift
        xor dh, 1
.no_shift:
        mov cl, al
        sub cl, 0x47
        xor ch, ch
        mov si, cx
        mov al, [cs:keypad_digits + si]
        cmp ah, 0x4A
        je .store
        cmp ah, 0x4E
        je .store
        test dh, dh
        jnz .store
.keypad_plain:
        mov al, ah
        call keypad_code
        test ah, ah
        jz .drop
        xor al, al
        jmp .store

; F1-F10: 3Bh.., with Shift 54h.., Control 5Eh.., Alt 68h..
.f1_f10:
        xor al, al
        test bh, 0x08
        jnz .f_alt
        test bh, 0x04
        jnz .f_control
        test bh, 0x03
        jz .store
        add ah, 0x19
        jmp .store
.f_control:
        add ah, 0x23
        jmp .store
.f_alt:
        add ah, 0x2D
        jmp .store

; F11, F12: 85h, with Shift 87h, Control 89h, Alt 8Bh.
.f11:
        cmp al, 0x58
        ja .drop
        xor al, al
        add ah, 0x85 - 0x57
        test bh, 0x08
        jnz .f11_alt
        test bh, 0x04
        jnz .f11_control
        test bh, 0x03
        jz .store
        add ah, 2
        jmp .store
.f11_control:
        add ah, 4
        jmp .store
.f11_alt:
        add ah, 6
        jmp .store

; AL: scan code of a cursor key, BH: shift state.  AH: its code with that state (0: none).
keypad_code:
        mov ah, al
        test bh, 0x0C
        jz .as_is
        push si
        push cx
        mov cl, al
        sub cl, 0x47
        xor ch, ch
        mov si, cx
        test bh, 0x08
        jz .control
        add si, keypad_alt - keypad_control
.control:
        mov ah, [cs:keypad_control + si]
        pop cx
        pop si
.as_is:
        ret

plain_keys:
        db 0, 27, "1234567890-=", 8, 9, "qwertyuiop[]", 13, 0, "asdfghjkl;'`", 0, "\zxcvbnm,./", 0, "*", 0, " ", 0
        times 0x3B - ($ - plain_keys) db 0
shifted_keys:
        db 0, 27, "!@#$%^&*()_+", 8, 9, "QWERTYUIOP{}", 13, 0, 'ASDFGHJKL:"~', 0, "|ZXCVBNM<>?", 0, "*", 0, " ", 0
        times 0x3B - ($ - shifted_keys) db 0
; Control with a key that is no letter: (plain character, result).
control_keys:
        db "2", 0, "6", 0x1E, "-", 0x1F, "[", 0x1B, "]", 0x1D, "\", 0x1C, 13, 10, 8, 0x7F, " ", " ", 27, 27, 0, 0
keypad_digits:
        db "789-456+1230."
; Codes of the cursor keys from Home (47h) to Delete (53h) with Control and with Alt.
keypad_control:
        db 0x77, 0x8D, 0x84, 0x8E, 0x73, 0x8F, 0x74, 0x90, 0x75, 0x91, 0x76, 0x92, 0x93
keypad_alt:
        db 0x97, 0x98, 0x99, 0x4A, 0x9B, 0, 0x9D, 0x4E, 0x9F, 0xA0, 0xA1, 0xA2, 0xA3

; AX: entry for the keyboard buffer.  Carry if it is full.
key_store:
        pushf
        cli
        mov bx, [B_TAIL]
        mov si, bx
        add bx, 2
        cmp bx, [B_BUFFER_END]
        jb .no_wrap
        mov bx, [B_BUFFER_START]
.no_wrap:
        cmp bx, [B_HEAD]
        je .full
        mov [si], ax
        mov [B_TAIL], bx
        popf
        clc
        ret
.full:
        popf
        stc
        ret

int16:
        FRAME
        CASE 0x00, .read
        CASE 0x10, .read
        CASE 0x01, .check
        CASE 0x11, .check
        CASE 0x02, .shift
        CASE 0x12, .shift_extended
        CASE 0x05, .store
        CASE 0x09, .functions
        UNFRAME

.read:
        sti
        cli
        mov bx, [B_HEAD]
        cmp bx, [B_TAIL]
        jne .have
        ; STI takes effect after HLT has begun: no key can slip between the test and the halt.
        sti
        hlt
        jmp .read
.have:
        mov ax, [bx]
        call .advance
        call .translate
        jc .read                                ; a key that the old call does not know
        mov arg_ax, ax
        UNFRAME

.check:
        sti
        nop
        cli
        mov bx, [B_HEAD]
        cmp bx, [B_TAIL]
        je .nothing
        mov ax, [bx]
        call .translate
        jnc .found
        call .advance
        jmp .check
.found:
        mov arg_ax, ax
        and flags, ~0x40
        jmp .interrupts_on
.nothing:
        or flags, 0x40
.interrupts_on:
        or word [bp + F_FLAGS], 0x200
        UNFRAME

.advance:
        add bx, 2
        cmp bx, [B_BUFFER_END]
        jb .advanced
        mov bx, [B_BUFFER_START]
.advanced:
        mov [B_HEAD], bx
        ret

; Functions 00h and 01h know no extended keys: E0h becomes 0, grey Enter and / their main keys, others carry.
.translate:
        test arg_ah, 0x10
        jnz .as_is
        cmp ah, 0xE0
        jne .not_grey
        mov ah, 0x1C
        cmp al, 0x0D
        je .as_is
        mov ah, 0x35
        jmp .as_is
.not_grey:
        cmp al, 0xE0
        jne .not_e0
        test ah, ah
        jz .as_is
        xor al, al
.not_e0:
        cmp ah, 0x85
        cmc
        ret
.as_is:
        clc
        ret

.shift_extended:
        mov al, [B_SHIFT2]
        mov arg_ah, al
.shift:
        mov al, [B_SHIFT]
        mov arg_al, al
        UNFRAME

.store:
        mov ax, arg_cx
        call key_store
        mov al, 0
        adc al, 0
        mov arg_al, al
        UNFRAME

.functions:
        mov arg_al, 0x20                        ; only functions 10h-12h beyond the old ones
        UNFRAME

; ---------------------------------------------------------------------------------------------------- INT 10h

int10:
        FRAME
        sti
        CASE 0x0E, .teletype
        CASE 0x00, .set_mode
        CASE 0x01, .shape
        CASE 0x02, .set_cursor
        CASE 0x03, .get_cursor
        CASE 0x05, .set_page
        CASE 0x06, .scroll_up
        CASE 0x07, .scroll_down
        CASE 0x08, .read
        CASE 0x09, .write_attribute
        CASE 0x0A, .write
        CASE 0x0F, .get_mode
        CASE 0x11, .font
        CASE 0x12, .alternate
        CASE 0x13, .string
        CASE 0x1A, .combination
        UNFRAME

; Text only: 80 columns for modes 2, 3 and 7, 40 for 0 and 1; other modes are not there and change nothing.
.set_mode:
        mov ah, al
        and al, 0x7F
        mov cx, 80
        cmp al, 7
        je .mode_ok
        cmp al, 3
        ja .mode_done
        cmp al, 2
        jae .mode_ok
        mov cx, 40
.mode_ok:
        mov [B_MODE], al
        mov [B_COLUMNS], cx
        mov word [B_PAGE_SIZE], 0x1000
        mov word [B_PAGE_START], 0
        mov byte [B_PAGE], 0
        mov word [B_SHAPE], 0x0607
        mov word [B_CRTC], CRTC
        mov byte [B_ROWS], 24
        mov word [B_HEIGHT], 16
        push ds
        pop es
        mov di, B_CURSOR
        mov cx, 8
        xor bx, bx
.cursors:
        mov [di], bx
        add di, 2
        loop .cursors
        test ah, 0x80
        jnz .mode_cursor
        mov bx, 0xB800
        mov es, bx
        xor di, di
        mov cx, 0x4000
        push ax
        mov ax, 0x0720
        rep stosw
        pop ax
.mode_cursor:
        call show_cursor
.mode_done:
        mov arg_al, 0x30
        UNFRAME

.shape:
        mov cx, arg_cx
        mov [B_SHAPE], cx
        test byte [cs:config.flags], SCREEN
        jz .shape_done
        mov dx, [B_CRTC]
        mov al, 0x0A
        mov ah, ch
        out dx, ax
        mov al, 0x0B
        mov ah, cl
        out dx, ax
.shape_done:
        UNFRAME

.set_cursor:
        call page_cursor
        mov ax, arg_dx
        mov [bx], ax
        call show_cursor
        UNFRAME

.get_cursor:
        call page_cursor
        mov ax, [bx]
        mov arg_dx, ax
        mov ax, [B_SHAPE]
        mov arg_cx, ax
        UNFRAME

.set_page:
        and al, 7
        mov [B_PAGE], al
        xor ah, ah
        mul word [B_PAGE_SIZE]
        mov [B_PAGE_START], ax
        test byte [cs:config.flags], SCREEN
        jz .page_shown
        mov bx, ax
        shr bx, 1
        mov dx, [B_CRTC]
        mov al, 0x0C
        mov ah, bh
        out dx, ax
        mov al, 0x0D
        mov ah, bl
        out dx, ax
.page_shown:
        call show_cursor
        UNFRAME

.get_mode:
        mov al, [B_MODE]
        mov ah, [B_COLUMNS]
        mov arg_ax, ax
        mov al, [B_PAGE]
        mov arg_bh, al
        UNFRAME

.scroll_up:
        xor si, si
        jmp .scroll
.scroll_down:
        mov si, 1
.scroll:
        mov cx, arg_cx
        mov dx, arg_dx
        mov bl, [B_PAGE]
        mov bh, arg_bh
        call scroll
        UNFRAME

.read:
        call page_cell
        mov ax, [es:di]
        mov arg_ax, ax
        UNFRAME

.write_attribute:
        call page_cell
        mov cx, arg_cx
        mov ah, arg_bl
        mov al, arg_al
        rep stosw
        UNFRAME

.write:
        call page_cell
        mov cx, arg_cx
        mov al, arg_al
        jcxz .written
.write_next:
        stosb
        inc di
        loop .write_next
.written:
        UNFRAME

.teletype:
        mov bl, [B_PAGE]
        call teletype
        call show_cursor
        UNFRAME

; AL bit 0: move the cursor; bit 1: attributes in the string.
.string:
        mov bh, 0
        mov bl, arg_bh
        and bl, 7
        shl bx, 1
        push word [bx + B_CURSOR]
        push bx
        mov ax, arg_dx
        mov [bx + B_CURSOR], ax
        mov si, arg_bp
        mov cx, arg_cx
        jcxz .string_done
.string_next:
        mov es, arg_es
        mov al, [es:si]
        inc si
        mov ah, arg_bl
        test arg_al, 2
        jz .string_attribute
        mov ah, [es:si]
        inc si
.string_attribute:
        mov bl, arg_bh
        cmp al, 13
        je .string_control
        cmp al, 10
        je .string_control
        cmp al, 8
        je .string_control
        cmp al, 7
        je .string_control
        push ax
        call cell_of_page
        pop ax
        mov [es:di + 1], ah
.string_control:
        call teletype
        loop .string_next
.string_done:
        pop bx
        pop ax
        test arg_al, 1
        jnz .string_moved
        mov [bx + B_CURSOR], ax
.string_moved:
        call show_cursor
        UNFRAME

.font:
        cmp al, 0x30
        jne .font_done
        mov arg_cx, 16
        mov arg_dl, 24
.font_done:
        UNFRAME

.alternate:
        cmp arg_bl, 0x10
        jne .alternate_done
        mov arg_bx, 0x0003                      ; colour, 256 KiB
        mov arg_cx, 0x0009
.alternate_done:
        UNFRAME

.combination:
        test al, al
        jnz .combination_done
        mov arg_al, 0x1A
        mov arg_bx, 0x0008                      ; VGA with a colour display
.combination_done:
        UNFRAME

; BX: address of the cursor position of page BH of the caller.
page_cursor:
        mov bl, arg_bh
        and bx, 7
        shl bx, 1
        add bx, B_CURSOR
        ret

; ES:DI: cell under the cursor of page BH of the caller.
page_cell:
        mov bl, arg_bh

; BL: page.  ES:DI: cell under its cursor.  Changes AX, DX.
cell_of_page:
        push bx
        and bx, 7
        mov di, bx
        shl bx, 1
        mov dx, [bx + B_CURSOR]
        mov bx, di
        call cell
        pop bx
        ret

; BL: page, DH: row, DL: column.  ES:DI: the cell.  Changes AX.
cell:
        push dx
        xor bh, bh
        mov al, dh
        mul byte [B_COLUMNS]
        xor dh, dh
        add ax, dx
        shl ax, 1
        mov di, ax
        mov ax, bx
        mul word [B_PAGE_SIZE]
        add di, ax
        mov ax, 0xB800
        mov es, ax
        pop dx
        ret

; AL: character for page BL, at its cursor.  Keeps CX, SI.
teletype:
        push cx
        push si
        and bx, 7
        mov si, bx
        shl si, 1
        add si, B_CURSOR
        mov dx, [si]
        test byte [cs:config.flags], MIRROR
        jz .no_mirror
        call serial_put
.no_mirror:
        cmp al, 13
        je .return
        cmp al, 10
        je .feed
        cmp al, 8
        je .back
        cmp al, 7
        je .done
        push ax
        call cell
        pop ax
        mov [es:di], al
        inc dl
        cmp dl, [B_COLUMNS]
        jb .place
        xor dl, dl
.feed:
        inc dh
        cmp dh, [B_ROWS]
        jbe .place
        mov dh, [B_ROWS]
        ; Scroll the whole page; the new line takes the attribute under the cursor.
        push dx
        push bx
        push si
        call cell
        mov bh, [es:di + 1]
        xor cx, cx
        mov dh, [B_ROWS]
        mov dl, [B_COLUMNS]
        dec dl
        xor si, si
        mov al, 1
        call scroll
        pop si
        pop bx
        pop dx
        jmp .place
.back:
        test dl, dl
        jz .done
        dec dl
        jmp .place
.return:
        xor dl, dl
.place:
        mov [si], dx
.done:
        pop si
        pop cx
        ret

; AL: lines (0: all), BL: page, BH: attribute, CH, CL to DH, DL: window, SI: 0 up, 1 down.
scroll:
        push bp
        cmp dh, [B_ROWS]
        jbe .rows_ok
        mov dh, [B_ROWS]
.rows_ok:
        mov ah, [B_COLUMNS]
        dec ah
        cmp dl, ah
        jbe .columns_ok
        mov dl, ah
.columns_ok:
        cmp ch, dh
        ja .done
        cmp cl, dl
        ja .done
        mov ah, dh
        sub ah, ch
        inc ah                                  ; AH: rows of the window
        test al, al
        jz .all
        cmp al, ah
        jbe .some
.all:
        mov al, ah
.some:
        push ax
        mov ax, [B_COLUMNS]
        shl ax, 1
        mov bp, ax                              ; BP: bytes from row to row
        pop ax
        test si, si
        jz .from_top
        neg bp
        xchg ch, dh                             ; downwards the window is walked from its bottom
.from_top:
        push ax
        push dx
        push bx
        mov dh, ch
        push dx
        mov dl, cl
        xor bh, bh
        call cell                               ; ES:DI: left cell of the first row to fill
        pop dx
        pop bx
        pop dx
        pop ax
        sub dl, cl
        inc dl                                  ; DL: columns of the window
        sub ah, al                              ; AH: rows to move, AL: rows to clear
        push ax
        xor ah, ah
        push dx
        imul bp
        pop dx
        mov si, di
        add si, ax
        pop ax
.move:
        test ah, ah
        jz .clear
        push si
        push di
        movzx cx, dl
        push ds
        push es
        pop ds
        rep movsw
        pop ds
        pop di
        pop si
        add si, bp
        add di, bp
        dec ah
        jmp .move
.clear:
        test al, al
        jz .done
        push di
        push ax
        mov ah, bh
        mov al, ' '
        movzx cx, dl
        rep stosw
        pop ax
        pop di
        add di, bp
        dec al
        jmp .clear
.done:
        pop bp
        ret

; Tells the CRT controller where the cursor of the shown page is.
show_cursor:
        test byte [cs:config.flags], SCREEN
        jz .done
        pusha
        push es
        mov bl, [B_PAGE]
        call cell_of_page
        mov bx, di
        shr bx, 1
        mov dx, [B_CRTC]
        mov al, 0x0E
        mov ah, bh
        out dx, ax
        mov al, 0x0F
        mov ah, bl
        out dx, ax
        pop es
        popa
.done:
        ret

; AL: character for COM1.  Waits, but not for ever.
serial_put:
        push ax
        push dx
        mov dx, [B_COM]
        test dx, dx
        jz .done
        push ax
        mov ah, 0x20
        call serial_wait
        pop ax
        out dx, al
.done:
        pop dx
        pop ax
        ret

; DX: base of a serial port, AH: bit of its line status.  Waits for it, some 20 ms at most (110 baud takes longer for
; a character, but nobody uses that any more).  AL: the line status; ZF if the time is over.
serial_wait:
        push bx
        push cx
        add dx, 5
        mov bx, 0xFFFF
.next:
        in al, dx
        test al, ah
        jnz .done
        mov cx, 300
        loop $
        dec bx
        jnz .next
.done:
        sub dx, 5
        test al, ah
        pop cx
        pop bx
        ret

; DS... any.  CS:SI: text with a final zero.
print:
        cs lodsb
        test al, al
        jz .done
        mov ah, 0x0E
        mov bx, 7
        int 0x10
        jmp print
.done:
        ret

; ---------------------------------------------------------------------------------------------------- INT 13h

int13:
        FRAME
        sti
        mov dx, [cs:config.disk]
        push ax
        mov al, arg_dl
        call disk_kind
        mov cl, al                              ; CL: 1 floppy, 2 hard disk
        pop ax
        jnz .present
        CASE 0x15, .type_none
        CASE 0x08, .parameters_none
        mov ah, 0x01
        cmp arg_dl, 0x80
        jb .not_ready
        jmp .result
.not_ready:
        mov ah, 0x80
        jmp .result

.present:
        CASE 0x02, .read
        CASE 0x42, .read_extended
        CASE 0x00, .success
        CASE 0x01, .last_status
        CASE 0x03, .write
        CASE 0x04, .verify
        CASE 0x08, .parameters
        CASE 0x09, .success
        CASE 0x0C, .success
        CASE 0x0D, .success
        CASE 0x10, .success
        CASE 0x11, .success
        CASE 0x14, .success
        CASE 0x15, .type
        CASE 0x16, .success
        cmp cl, 2
        jne .unknown
        CASE 0x41, .extensions
        CASE 0x43, .write_extended
        CASE 0x44, .verify_extended
        CASE 0x47, .success
        CASE 0x48, .parameters_extended
.unknown:
        mov ah, 0x01
        jmp .result

.success:
        xor ah, ah
; AH: status.
.result:
        mov arg_ah, ah
        cmp arg_dl, 0x80
        jae .hard_status
        mov [B_FLOPPY_STATUS], ah
        jmp .carry
.hard_status:
        mov [B_DISK_STATUS], ah
.carry:
        CLEAR_CARRY
        test ah, ah
        jz .done
        SET_CARRY
.done:
        UNFRAME

.last_status:
        mov ah, [B_DISK_STATUS]
        cmp arg_dl, 0x80
        jae .status_known
        mov ah, [B_FLOPPY_STATUS]
.status_known:
        mov arg_ah, ah
        jmp .carry

.read:
        mov al, DISK_READ
        jmp .chs
.write:
        mov al, DISK_WRITE
        jmp .chs
.verify:
        mov al, DISK_VERIFY

; Cylinder (CL bits 7-6, CH), head (DH) and sector (CL bits 5-0) become a block number.
.chs:
        xor ah, ah
        mov F_SCRATCH, ax
        mov cl, arg_cl
        and cl, 0x3F
        jz .bad
        push dx
        add dx, D_TRACK
        in ax, dx
        movzx edi, ax                           ; EDI: sectors per track
        sub dx, D_TRACK - D_HEADS
        in ax, dx
        movzx esi, ax                           ; ESI: heads
        sub dx, D_HEADS - D_CYLINDERS
        in ax, dx
        mov bx, ax                              ; BX: cylinders
        pop dx
        movzx ax, cl
        cmp ax, di
        ja .bad
        movzx ax, arg_dh
        cmp ax, si
        jae .bad
        mov al, arg_ch
        mov ah, arg_cl
        shr ah, 6
        cmp ax, bx
        jae .bad
        movzx eax, ax
        imul eax, esi
        movzx ebx, arg_dh
        add eax, ebx
        imul eax, edi
        movzx ebx, cl
        lea eax, [eax + ebx - 1]
        movzx cx, arg_al
        jcxz .bad
        xor ebx, ebx                            ; EBX:EAX: block
        mov si, arg_bx
        mov es, arg_es
        mov di, si
        mov si, F_SCRATCH
        call disk_transfer
        mov arg_al, cl
        jmp .result
.bad:
        mov arg_al, 0
        mov ah, 0x01
        jmp .result

.read_extended:
        mov al, DISK_READ
        jmp .packet
.write_extended:
        mov al, DISK_WRITE
        jmp .packet
.verify_extended:
        mov al, DISK_VERIFY

; Disk address packet at the caller's DS:SI: size, -, count (2), offset, segment, block (8).
.packet:
        xor ah, ah
        mov F_SCRATCH, ax
        mov si, arg_si
        mov es, arg_ds
        cmp byte [es:si], 0x10
        jb .bad_packet
        mov cx, [es:si + 2]
        test cx, cx
        jz .success
        cmp cx, 127
        ja .packet_long
        mov di, [es:si + 4]
        mov eax, [es:si + 8]
        mov ebx, [es:si + 12]
        mov es, [es:si + 6]
        mov si, F_SCRATCH
        call disk_transfer
        mov si, arg_si
        mov es, arg_ds
        mov [es:si + 2], cx
        jmp .result
.packet_long:
        mov word [es:si + 2], 0
.bad_packet:
        mov ah, 0x01
        jmp .result
.type_none:
        mov arg_ah, 0
        CLEAR_CARRY
        UNFRAME

; 1: floppy without, 3: hard disk, CX:DX its sectors.
.type:
        mov arg_ah, 1
        CLEAR_CARRY
        cmp cl, 2
        jne .done
        mov arg_ah, 3
        add dx, D_SECTORS
        in eax, dx
        mov arg_dx, ax
        shr eax, 16
        mov arg_cx, ax
        UNFRAME

.parameters_none:
        mov ah, 0x07
        mov arg_cx, 0
        mov arg_dx, 0
        jmp .result

.parameters:
        push dx
        add dx, D_CYLINDERS
        in ax, dx
        dec ax
        mov arg_ch, al
        shl ah, 6
        mov bl, ah
        add dx, D_HEADS - D_CYLINDERS
        in ax, dx
        dec ax
        mov arg_dh, al
        add dx, D_TRACK - D_HEADS
        in ax, dx
        or bl, al
        mov arg_cl, bl
        pop dx
        mov arg_al, 0
        cmp cl, 2
        je .parameters_hard
        ; Floppies: drive type (4: 1.44 MB, 5: 2.88 MB, 2: 1.2 MB, 3: 720 KB, 1: 360 KB) and the parameter table.
        mov ah, 2
        cmp al, 15
        je .floppy_type
        mov ah, 5
        cmp al, 36
        je .floppy_type
        dec ah
        cmp al, 18
        je .floppy_type
        dec ah
        cmp arg_ch, 79
        je .floppy_type
        mov ah, 1
.floppy_type:
        mov arg_bx, 0
        mov arg_bl, ah
        mov arg_di, diskette_table
        mov arg_es, cs
        mov ax, [B_EQUIPMENT]
        shr al, 6
        inc al
        mov arg_dl, al
        jmp .success
.parameters_hard:
        mov al, [B_DISKS]
        mov arg_dl, al
        jmp .success

.extensions:
        cmp arg_bx, 0x55AA
        jne .unknown
        mov arg_bx, 0xAA55
        mov arg_cx, 0x0001                      ; packet calls only
        mov arg_ah, 0x21                        ; version 1.1
        mov byte [B_DISK_STATUS], 0
        CLEAR_CARRY
        UNFRAME

; Result buffer of version 1.1: 26 bytes.
.parameters_extended:
        mov si, arg_si
        mov es, arg_ds
        cmp word [es:si], 26
        jb .bad_packet
        mov word [es:si], 26
        mov word [es:si + 2], 2                 ; the geometry is valid
        add dx, D_SECTORS
        in eax, dx
        mov [es:si + 16], eax
        add dx, D_SECTORS_HIGH - D_SECTORS
        in eax, dx
        mov [es:si + 20], eax
        xor eax, eax
        add dx, D_CYLINDERS - D_SECTORS_HIGH
        in ax, dx
        mov [es:si + 4], eax
        add dx, D_HEADS - D_CYLINDERS
        in ax, dx
        mov [es:si + 8], eax
        add dx, D_TRACK - D_HEADS
        in ax, dx
        mov [es:si + 12], eax
        mov word [es:si + 24], 512
        jmp .success

; DX: base of the disk device, unit selected; EBX:EAX: first block; CX: sectors; SI: command; ES:DI: memory.
; AH: status, CX: sectors done.  Changes all but DS, BP, DX.
disk_transfer:
        push dx
        push cx
        ; The memory address with an offset below 16, so that no sector wraps at the end of a segment.
        push ax
        mov ax, di
        shr ax, 4
        mov cx, es
        add ax, cx
        mov es, ax
        and di, 15
        pop ax
        pop cx
        push cx
        add dx, D_LBA
        out dx, eax
        add dx, D_LBA_HIGH - D_LBA
        mov eax, ebx
        out dx, eax
        sub dx, D_LBA_HIGH - D_COUNT
        mov ax, cx
        out dx, ax
        sub dx, D_COUNT - D_COMMAND
        mov ax, si
        out dx, al
        in al, dx
        test al, al
        jnz .failed
        cmp si, DISK_VERIFY
        je .finished
        add dx, D_DATA - D_COMMAND
        mov bx, cx
        cmp si, DISK_WRITE
        je .write
.read:
        push di
        mov cx, 256
        rep insw
        pop di
        mov ax, es
        add ax, 32
        mov es, ax
        dec bx
        jnz .read
        jmp .status
.write:
        mov si, di
        push ds
.write_next:
        push es
        pop ds
        push si
        mov cx, 256
        rep outsw
        pop si
        mov ax, es
        add ax, 32
        mov es, ax
        dec bx
        jnz .write_next
        pop ds
.status:
        sub dx, D_DATA - D_COMMAND
        in al, dx
        test al, al
        jnz .failed
.finished:
        pop cx
        pop dx
        xor ah, ah
        ret
.failed:
        mov ah, al
        pop cx
        pop dx
        xor cx, cx
        ret

; ---------------------------------------------------------------------------------------------------- INT 14h, 17h

int14:
        FRAME
        mov bx, arg_dx
        cmp bx, 4
        jae .absent
        shl bx, 1
        mov dx, [bx + B_COM]
        test dx, dx
        jz .absent
        CASE 0x00, .set
        CASE 0x01, .send
        CASE 0x02, .receive
        CASE 0x03, .status
.absent:
        mov arg_ah, 0x80
        UNFRAME

; AL: bits 7-5 rate, 4-3 parity, 2 stop bits, 1-0 length: all but the rate as in the line control register.
.set:
        mov bl, al
        add dx, 3
        mov al, 0x80
        out dx, al
        mov cl, bl
        shr cl, 5
        mov ax, 1047                            ; 110 baud
        jz .divisor
        mov ax, 1536                            ; 150 baud with CL = 1, twice as fast with each step
        shr ax, cl
.divisor:
        sub dx, 3
        out dx, al
        inc dx
        mov al, ah
        out dx, al
        add dx, 2
        mov al, bl
        and al, 0x1F
        out dx, al
        sub dx, 2
        xor al, al
        out dx, al
        add dx, 3
        mov al, 3
        out dx, al
        sub dx, 4
.status:
        add dx, 5
        in al, dx
        mov ah, al
        inc dx
        in al, dx
        mov arg_ax, ax
        UNFRAME

.send:
        mov ah, 0x20
        call serial_wait
        jz .time_out
        mov ah, al
        mov al, arg_al
        out dx, al
        mov arg_ah, ah
        UNFRAME

.receive:
        mov ah, 0x01
        call serial_wait
        jz .time_out
        mov ah, al
        and ah, 0x1E
        in al, dx
        mov arg_ax, ax
        UNFRAME

.time_out:
        or al, 0x80
        mov arg_ah, al
        UNFRAME

; There are no printers: time-out.
int17:
        mov ah, 0x01
        iret

; ---------------------------------------------------------------------------------------------------- INT 15h

int15:
        ; 4Fh first and bare: it is called with each key.  Carry set: go on with the key.
        cmp ah, 0x4F
        jne .framed
        push bp
        mov bp, sp
        or byte [bp + 6], 1
        pop bp
        iret
.framed:
        FRAME
        CLEAR_CARRY
        cmp ax, 0xE820
        je near .memory_map
        cmp ax, 0xE801
        je near .memory_e801
        CASE 0x24, .gate
        CASE 0x86, .wait
        CASE 0x87, .move
        CASE 0x88, .memory_88
        CASE 0x90, .ok
        CASE 0x91, .ok
        CASE 0xC0, .description
        CASE 0xC1, .ebda
.unsupported:
        mov arg_ah, 0x86
        SET_CARRY
        UNFRAME
.ok:
        mov arg_ah, 0
        UNFRAME

.gate:
        cmp al, 3
        ja .unsupported
        je .gate_support
        in al, PORT_A
        cmp arg_al, 1
        ja .gate_status
        je .gate_on
        and al, 0xFC
        jmp .gate_set
.gate_on:
        or al, 2
        and al, 0xFE
.gate_set:
        out PORT_A, al
        jmp .ok
.gate_status:
        shr al, 1
        and al, 1
        mov arg_al, al
        jmp .ok
.gate_support:
        mov arg_bx, 2                           ; by port 92h
        jmp .ok

; CX:DX microseconds, measured with the ACPI timer of 3.579545 MHz (24 bits): 234589 / 65536 of its ticks each.
.wait:
        mov ax, arg_cx
        shl eax, 16
        mov ax, arg_dx
        mov ebx, 234589
        mul ebx
        shrd eax, edx, 16
        shr edx, 16
        mov esi, eax
        mov edi, edx
        add esi, 2                              ; EDI:ESI: ticks to go, rounded up at both ends
        adc edi, 0
        mov dx, [cs:config.timer]
        sti
        in eax, dx
        mov ebx, eax
.wait_next:
        mov cx, 300                             ; a timer read costs more than it looks: not too many of them
        loop $
        in eax, dx
        mov ecx, eax
        sub ecx, ebx
        and ecx, 0xFFFFFF
        mov ebx, eax
        sub esi, ecx
        sbb edi, 0
        jnc .wait_next
        jmp .ok

; Copies CX words between any addresses below 4 GiB; ES:SI: a GDT with source (10h) and target (18h) descriptors.
.move:
        mov es, arg_es
        mov si, arg_si
        call .base_of
        mov edi, eax
        add si, 8
        call .base_of
        xchg edi, eax                           ; EDI: target, EAX: source
        movzx ecx, arg_cx
        cli
        push ds
        push es
        push eax
        o32 lgdt [cs:flat_gdt_register]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        mov bx, 8
        mov ds, bx
        mov es, bx
        and al, 0xFE
        mov cr0, eax
        pop esi
        xor ax, ax
        mov ds, ax
        mov es, ax
        a32 rep movsw
        ; The limits become those of real mode again.
        mov eax, cr0
        or al, 1
        mov cr0, eax
        mov bx, 16
        mov ds, bx
        mov es, bx
        and al, 0xFE
        mov cr0, eax
        pop es
        pop ds
        jmp .ok

; ES:SI: a GDT.  EAX: base of its descriptor 10h.
.base_of:
        mov eax, [es:si + 0x12]
        and eax, 0xFFFFFF
        mov bl, [es:si + 0x17]
        shl ebx, 24
        or eax, ebx
        ret

.memory_88:
        mov ax, [cs:config.extended]
        mov arg_ax, ax
        UNFRAME

.memory_e801:
        mov ax, [cs:config.below_16m]
        mov arg_ax, ax
        mov arg_cx, ax
        mov ax, [cs:config.above_16m]
        mov arg_bx, ax
        mov arg_dx, ax
        UNFRAME

.memory_map:
        cmp arg_edx, 0x534D4150
        jne .unsupported
        cmp arg_ecx, 20
        jb .unsupported
        mov eax, arg_ebx
        movzx ecx, word [cs:config.ranges]
        cmp eax, ecx
        jae .unsupported
        imul si, ax, 20
        add si, config.map
        mov es, arg_es
        mov di, arg_di
        push cx
        mov cx, 10
        cs rep movsw
        pop cx
        inc ax
        cmp ax, cx
        jb .more
        xor ax, ax
.more:
        movzx eax, ax
        mov arg_ebx, eax
        mov arg_eax, 0x534D4150
        mov arg_ecx, 20
        UNFRAME

.description:
        mov arg_es, cs
        mov arg_bx, description
        jmp .ok

.ebda:
        mov ax, [B_EBDA]
        mov arg_es, ax
        jmp .ok

; System descriptor table: model FCh; second interrupt controller, clock, keyboard intercept, extended data area.
description:
        dw 8
        db 0xFC, 0x01, 0x00, 0x74, 0, 0, 0, 0

        align 4
flat_gdt:
        dq 0
        dq 0x008F93000000FFFF                   ; 4 GiB of data
        dq 0x000093000000FFFF                   ; 64 KiB of data
        dq 0x00CF9B000000FFFF                   ; 4 GiB of 32-bit code and of data
        dq 0x00CF93000000FFFF
flat_gdt_register:
        dw flat_gdt_register - flat_gdt - 1
        dd 0xF0000 + flat_gdt

; ---------------------------------------------------------------------------------------------------- INT 18h, 19h

int18:
        mov si, text_no_boot
        call print
.forever:
        sti
        hlt
        jmp .forever

text_no_boot:
        db "No bootable disk.", 13, 10, 0

int19:
        xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, 0x7C00
        sti
        mov dl, [cs:config.boot_drive]
        mov di, 3
.again:
        mov ax, 0x0201
        mov bx, 0x7C00
        mov cx, 1
        mov dh, 0
        int 0x13
        jnc .loaded
        mov ah, 0
        int 0x13
        dec di
        jnz .again
        int 0x18
.loaded:
        cmp word [0x7DFE], 0xAA55
        je .boot
        int 0x18
.boot:
        xor eax, eax
        xor ebx, ebx
        xor ecx, ecx
        movzx edx, dl
        xor esi, esi
        xor edi, edi
        xor ebp, ebp
        jmp 0:0x7C00

; Diskette parameters: 512-byte sectors, 18 on a track.
diskette_table:
        db 0xAF, 0x02, 0x25, 0x02, 18, 0x1B, 0xFF, 0x6C, 0xF6, 0x0F, 0x08

; ---------------------------------------------------------------------------------------------------- configuration

code_end:
        times 0x1C00 - ($ - $$) db 0

; F000:FC00, filled in by rom.py.
config:
        db "VMCB"
.boot_drive:    db 0x80
.flags:         db 0
.disk:          dw 0x0D00
.timer:         dw 0x0608
.memory:        dw 639
.extended:      dw 0
.below_16m:     dw 0
.above_16m:     dw 0
.equipment:     dw 0
.com:           dw 0, 0, 0, 0
.ebda:          dw 0
.ranges:        dw 0
.ip:            dw 0
.cs:            dw 0
.data:          dw 0
.sp:            dw 0
.ss:            dw 0
.smi:           dw 0xB2
.facs:          dd 0
.acpi_enable:   db 0xF1
.video:         dw 0x0010
        times 0x40 - ($ - config) db 0
.map:
        times 32 * 20 db 0

        times 0x1FF0 - ($ - $$) db 0

; F000:FFF0: the reset vector, the date of this BIOS, the model.
        jmp 0xF000:post
        db "11/20/26", 0
        db 0xFC, 0
