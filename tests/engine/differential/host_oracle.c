/* Runs test cases on the host's own processor, in user mode.
 *
 * Standard input: a u32 count and that many struct Case; standard output: as many struct Result.  Every batch runs in a child
 * process of its own.  The child fills the context of a signal frame with the state of a case and returns from the handler:
 * the case runs until it faults (each ends with UD2), and the next signal frame holds the whole state.  A seccomp filter
 * leaves the child no system call but the return from a handler, so that no instruction of a case can do harm.
 */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define CODE 0x10000000ul
#define CODE_SIZE 0x40000ul
#define DATA 0x20000000ul
#define DATA_SIZE 0x2000ul
#define WINDOW (DATA + 0xe00)
#define WINDOW_SIZE 1024

struct Case {
    uint64_t gpr[16]; /* in the order of their numbers */
    uint64_t rip, rflags;
    uint8_t fx[512]; /* as FXSAVE64 stores it */
    uint64_t mode;   /* 64, 32 or 16 */
    uint8_t code[64];
    uint8_t window[WINDOW_SIZE];
};
struct Result {
    uint64_t gpr[16];
    uint64_t rip, rflags;
    uint8_t fx[512];
    uint64_t vector, error, cr2;
    uint8_t window[WINDOW_SIZE];
};
enum { VECTOR_TIMEOUT = 254, VECTOR_SYSCALL = 255, VECTOR_NEVER = 256 };

static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                              REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
static struct Case *cases;
static struct Result *results; /* shared with the parent */
static uint32_t count;
static volatile uint32_t current;
static volatile int started;
static uint32_t last_alarm = ~0u;
static int have_ldt;

static void load(ucontext_t *u) {
    const struct Case *c = &cases[current];
    greg_t *g = u->uc_mcontext.gregs;
    for (int i = 0; i < 16; i++) g[order[i]] = (greg_t)c->gpr[i];
    g[REG_RIP] = (greg_t)c->rip;
    g[REG_EFL] = (greg_t)((c->rflags & 0x40dd5) | 0x202);
    uint16_t cs = 0x33, ss = 0x2b, ds = 0x2b;
    if (c->mode == 32) cs = 0x23;
    if (c->mode == 16) {
        cs = 0x07; /* LDT entry 0 */
        ss = ds = 0x0f;
    }
    g[REG_CSGSFS] = (g[REG_CSGSFS] & ~(greg_t)0xffff00000000ffff) | cs | (greg_t)((uint64_t)ss << 48);
    __asm__ volatile("mov %0, %%ds; mov %0, %%es" ::"r"((uint32_t)ds));
    uint8_t *fx = (uint8_t *)u->uc_mcontext.fpregs;
    memcpy(fx, c->fx, 416); /* the rest tells the kernel what else the frame holds */
    if (*(uint32_t *)(fx + 464) == 0x46505853) *(uint64_t *)(fx + 512) |= 3; /* XSTATE_BV: x87 and SSE are there */
    memset((void *)DATA, 0, DATA_SIZE);
    memcpy((void *)WINDOW, c->window, WINDOW_SIZE);
    memcpy((void *)(c->mode == 16 ? CODE + (c->rip & 0xffff) : c->rip), c->code, sizeof c->code);
}

static void store(const ucontext_t *u, uint64_t vector) {
    struct Result *r = &results[current];
    const greg_t *g = u->uc_mcontext.gregs;
    for (int i = 0; i < 16; i++) r->gpr[i] = (uint64_t)g[order[i]];
    r->rip = (uint64_t)g[REG_RIP];
    r->rflags = (uint64_t)g[REG_EFL];
    memcpy(r->fx, u->uc_mcontext.fpregs, 416);
    r->vector = vector;
    r->error = (uint64_t)g[REG_ERR];
    r->cr2 = vector == 14 ? (uint64_t)g[REG_CR2] : 0;
    memcpy(r->window, (void *)WINDOW, WINDOW_SIZE);
}

static void leave(void) { syscall(SYS_exit_group, 0); }

static void handler(int signal_number, siginfo_t *info, void *context) {
    /* The handler starts with the flags of the case.  AC would hurt it; NT and ID are not part of the frame, what the handler returns
     * with stays. */
    __asm__ volatile("pushfq; andq $~0x244000, (%%rsp); popfq" ::: "cc", "memory");
    (void)info;
    ucontext_t *u = context;
    uint64_t vector = (uint64_t)u->uc_mcontext.gregs[REG_TRAPNO];
    if (signal_number == SIGALRM) {
        if (!started || last_alarm != current) {
            last_alarm = current;
            return;
        }
        vector = VECTOR_TIMEOUT;
    }
    if (signal_number == SIGSYS) vector = VECTOR_SYSCALL;
    if (!started) {
        started = 1;
    } else {
        store(u, vector);
        current = current + 1;
    }
    if (current == count) leave();
    load(u);
}

static void make_ldt(void) {
    struct user_desc code = {.entry_number = 0, .base_addr = CODE, .limit = 0xffff, .contents = MODIFY_LDT_CONTENTS_CODE};
    struct user_desc data = {.entry_number = 1, .base_addr = DATA, .limit = DATA_SIZE - 1, .contents = MODIFY_LDT_CONTENTS_DATA};
    have_ldt = syscall(SYS_modify_ldt, 1, &code, sizeof code) == 0 && syscall(SYS_modify_ldt, 1, &data, sizeof data) == 0;
}

static void confine(void) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) _exit(3);
}

static void child(void) {
    static uint8_t stack[65536];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    static const int signals[] = {SIGSEGV, SIGILL, SIGFPE, SIGBUS, SIGTRAP, SIGSYS, SIGALRM};
    sigfillset(&action.sa_mask);
    if (sigaltstack(&alternate, NULL)) _exit(4);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (sigaction(signals[i], &action, NULL)) _exit(5);
    struct itimerval timer = {{0, 100000}, {0, 100000}};
    if (setitimer(ITIMER_REAL, &timer, NULL)) _exit(6);
    confine();
    __asm__ volatile("ud2");
}

static int read_all(void *to, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t n = read(0, (char *)to + done, size - done);
        if (n <= 0) return -1;
        done += (size_t)n;
    }
    return 0;
}

static int write_all(const void *from, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t n = write(1, (const char *)from + done, size - done);
        if (n <= 0) return -1;
        done += (size_t)n;
    }
    return 0;
}

int main(void) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    if (mmap((void *)CODE, CODE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC, flags, -1, 0) != (void *)CODE ||
        mmap((void *)DATA, DATA_SIZE, PROT_READ | PROT_WRITE, flags, -1, 0) != (void *)DATA) {
        perror("host_oracle: mmap");
        return 1;
    }
    make_ldt();
    uint32_t hello[4] = {(uint32_t)sizeof(struct Case), (uint32_t)sizeof(struct Result), (uint32_t)have_ldt, 0};
    if (write_all(hello, sizeof hello)) return 1;
    while (read_all(&count, sizeof count) == 0) {
        cases = malloc(count * sizeof *cases);
        results = mmap(NULL, count * sizeof *results, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (!cases || results == MAP_FAILED || read_all(cases, count * sizeof *cases)) return 1;
        for (uint32_t i = 0; i < count; i++) results[i].vector = VECTOR_NEVER;
        /* A case may harm the child beyond repair: then the next child goes on after it. */
        for (uint32_t next = 0; next < count;) {
            pid_t pid = fork();
            if (pid < 0) return 1;
            if (pid == 0) {
                current = next;
                child();
                _exit(7);
            }
            int status;
            if (waitpid(pid, &status, 0) < 0) return 1;
            if (WIFEXITED(status) && WEXITSTATUS(status) >= 3) {
                fprintf(stderr, "host_oracle: the child could not start (%d)\n", WEXITSTATUS(status));
                return 1;
            }
            while (next < count && results[next].vector != VECTOR_NEVER) next++;
            if (!(WIFEXITED(status) && WEXITSTATUS(status) == 0)) next++; /* the culprit keeps VECTOR_NEVER */
        }
        if (write_all(results, count * sizeof *results)) return 1;
        free(cases);
        munmap(results, count * sizeof *results);
    }
    return 0;
}
