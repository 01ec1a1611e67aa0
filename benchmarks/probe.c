/* How far apart two processors are: two processes, each pinned to one, bounce a word of shared memory.
 *
 *   probe CPU_A CPU_B SECONDS
 *
 * Prints the 10th percentile, the median and the 90th percentile of a round trip in ns, over batches of BATCH round
 * trips, and the number of batches. */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 100, MAX_BATCHES = 1 << 16, SPINS_BETWEEN_CLOCKS = 4096 };

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return sched_setaffinity(0, sizeof set, &set);
}

static int ascending(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Wait until the word is `wanted`; 0 when the deadline passed first. */
static int await(_Atomic uint32_t *word, uint32_t wanted, uint64_t deadline_ns)
{
    for (uint32_t spins = 1; atomic_load_explicit(word, memory_order_acquire) != wanted; spins++)
    {
        if (spins % SPINS_BETWEEN_CLOCKS == 0 && now_ns() > deadline_ns)
        {
            return 0;
        }
    }
    return 1;
}

static void answer(_Atomic uint32_t *word, uint64_t deadline_ns)
{
    for (uint32_t turn = 1; await(word, turn, deadline_ns); turn += 2)
    {
        atomic_store_explicit(word, turn + 1, memory_order_release);
    }
}

static uint64_t batches[MAX_BATCHES];

static int bounce(_Atomic uint32_t *word, uint64_t deadline_ns)
{
    uint32_t turn = 0;
    int count = 0;
    while (count < MAX_BATCHES)
    {
        const uint64_t start_ns = now_ns();
        for (int i = 0; i < BATCH; i++)
        {
            atomic_store_explicit(word, turn + 1, memory_order_release);
            if (!await(word, turn + 2, deadline_ns))
            {
                return count;
            }
            turn += 2;
        }
        const uint64_t end_ns = now_ns();
        batches[count++] = end_ns - start_ns;
        if (end_ns > deadline_ns)
        {
            break;
        }
    }
    return count;
}

int main(int argc, char **argv)
{
    if (argc != 4)
    {
        fprintf(stderr, "usage: probe CPU_A CPU_B SECONDS\n");
        return 2;
    }
    _Atomic uint32_t *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (word == MAP_FAILED)
    {
        perror("mmap");
        return 1;
    }
    const uint64_t deadline_ns = now_ns() + (uint64_t)(atof(argv[3]) * 1e9);
    const pid_t child = fork();
    if (child < 0)
    {
        perror("fork");
        return 1;
    }
    if (child == 0)
    {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (pin(atoi(argv[2])) == 0)
        {
            answer(word, deadline_ns);
        }
        _exit(0);
    }
    int count = 0;
    const int is_pinned = pin(atoi(argv[1])) == 0;
    if (is_pinned)
    {
        count = bounce(word, deadline_ns);
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    if (!is_pinned)
    {
        fprintf(stderr, "processor %s cannot be used\n", argv[1]);
        return 1;
    }
    if (count == 0)
    {
        fprintf(stderr, "processors %s and %s did not meet within %s s\n", argv[1], argv[2], argv[3]);
        return 3;
    }
    qsort(batches, (size_t)count, sizeof batches[0], ascending);
    printf("%.1f %.1f %.1f %d\n", (double)batches[count / 10] / BATCH, (double)batches[count / 2] / BATCH,
        (double)batches[count * 9 / 10] / BATCH, count);
    return 0;
}
