/* A PKCS#11 module that passes every call on to a real one and misbehaves when a test says so.
 *
 * The real module's path is in COFFRE_SHIM_MODULE, the shared control block in the file COFFRE_SHIM_CONTROL (tests/kms/shim/__init__.py
 * has the same layout). All arguments of Cryptoki functions fit in machine words, so one pass-through of eight serves the whole table.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define FUNCTIONS 68
#define EVERYTHING 255

typedef unsigned long word;
typedef word (*function)(word, word, word, word, word, word, word, word);

struct control {
    _Atomic uint32_t target;    /* index in CK_FUNCTION_LIST, or EVERYTHING */
    _Atomic uint32_t every;     /* fail each n-th matching call; 0 never */
    _Atomic uint32_t answer;    /* the CKR_ code of a failure */
    _Atomic uint32_t delay_ms;  /* slow every matching call down */
    _Atomic uint32_t hang;      /* matching calls wait while this is set */
    _Atomic uint32_t swallow;   /* fail after the real call instead of before it */
    _Atomic uint32_t times;     /* fail so many times at most; 0 without end */
    _Atomic uint32_t matched;   /* matching calls so far */
    _Atomic uint32_t inside;    /* calls inside the module now */
    _Atomic uint32_t most;      /* the most calls that were ever inside at once */
    _Atomic uint32_t flags;     /* the flags of the last C_Initialize; 0xffffffff for a null argument */
    _Atomic uint32_t calls[FUNCTIONS];
};

struct list {
    unsigned char version[2];
    function entries[FUNCTIONS];
};

static struct control *control;
static struct list *real;
static struct list table;

static word pass(int index, word a, word b, word c, word d, word e, word f, word g, word h) {
    atomic_fetch_add(&control->calls[index], 1);
    if (index == 0)
        control->flags = a ? (uint32_t)((word *)a)[4] : 0xffffffffu;
    uint32_t now = atomic_fetch_add(&control->inside, 1) + 1;
    if (now > control->most)
        control->most = now;
    int is_target = control->target == EVERYTHING || control->target == (uint32_t)index;
    int fails = 0;
    if (is_target) {
        while (control->hang)
            usleep(5000);
        if (control->delay_ms)
            usleep(control->delay_ms * 1000);
        uint32_t count = atomic_fetch_add(&control->matched, 1) + 1;
        fails = control->every && count % control->every == 0 && (!control->times || count / control->every <= control->times);
    }
    word answer = fails && !control->swallow ? control->answer : real->entries[index](a, b, c, d, e, f, g, h);
    if (fails && control->swallow)
        answer = control->answer;
    atomic_fetch_sub(&control->inside, 1);
    return answer;
}

#define THUNK(i) \
    static word thunk##i(word a, word b, word c, word d, word e, word f, word g, word h) { return pass(i, a, b, c, d, e, f, g, h); }
#define EACH(X) \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) X(17) X(18) X(19) X(20) X(21) X(22) \
    X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31) X(32) X(33) X(34) X(35) X(36) X(37) X(38) X(39) X(40) X(41) X(42) X(43) \
    X(44) X(45) X(46) X(47) X(48) X(49) X(50) X(51) X(52) X(53) X(54) X(55) X(56) X(57) X(58) X(59) X(60) X(61) X(62) X(63) X(64) \
    X(65) X(66) X(67)
EACH(THUNK)
#define ENTRY(i) thunk##i,

word C_GetFunctionList(struct list **out) {
    static const function thunks[FUNCTIONS] = {EACH(ENTRY)};
    if (!real) {
        const char *module = getenv("COFFRE_SHIM_MODULE"), *place = getenv("COFFRE_SHIM_CONTROL");
        void *library = module ? dlopen(module, RTLD_NOW | RTLD_LOCAL) : NULL;
        int descriptor = place ? open(place, O_RDWR | O_CLOEXEC) : -1;
        if (!library || descriptor < 0)
            return 5;
        word (*get)(struct list **) = (word(*)(struct list **))dlsym(library, "C_GetFunctionList");
        control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
        close(descriptor);
        if (!get || control == MAP_FAILED || get(&real))
            return 5;
    }
    table.version[0] = real->version[0];
    table.version[1] = real->version[1];
    for (int i = 0; i < FUNCTIONS; i++)
        table.entries[i] = real->entries[i] ? thunks[i] : NULL;
    *out = &table;
    return 0;
}
