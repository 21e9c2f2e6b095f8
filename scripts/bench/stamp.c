/* stamp FILE SECONDS: sleep, then append "started ended" in CLOCK_MONOTONIC nanoseconds as the last thing done.
   Stands for an agent; small, so that what is measured is the queue and not the task. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int count, char **words)
{
    long long started = now();
    if (count != 3)
        return 2;
    int file = open(words[1], O_WRONLY | O_CREAT | O_APPEND, 0600);
    double seconds = atof(words[2]);
    struct timespec left = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
    while (nanosleep(&left, &left) != 0)
        ;
    char line[64];
    int length = snprintf(line, sizeof line, "%lld %lld\n", started, now());
    return write(file, line, length) == length ? 0 : 1;
}
