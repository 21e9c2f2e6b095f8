/* stamp FILE SECONDS [CODE]: sleep, then append "started ended" in CLOCK_MONOTONIC nanoseconds as the last thing done.
   Stands for an agent; small, so that what is measured is the queue and not the task. With CODE it tells of its
   progress, as agents do who shall not be taken for stuck, and exits with CODE. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { PARTS = 16 };

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void pass(double seconds)
{
    struct timespec left = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
    while (nanosleep(&left, &left) != 0)
        ;
}

int main(int count, char **words)
{
    long long started = now();
    if (count != 3 && count != 4)
        return 2;
    int file = open(words[1], O_WRONLY | O_CREAT | O_APPEND, 0600);
    double seconds = atof(words[2]);
    if (count == 3)
        pass(seconds);
    for (int part = 0; count == 4 && part < PARTS; part++) {
        dprintf(1, "part %c is done\n", 'a' + part);
        pass(seconds / PARTS);
    }
    char line[64];
    int length = snprintf(line, sizeof line, "%lld %lld\n", started, now());
    int code = count == 4 ? atoi(words[3]) : 0;
    return write(file, line, length) == length ? code : 1;
}
