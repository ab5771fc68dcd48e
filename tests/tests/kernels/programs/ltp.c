/*
 * A program that follows the conventions of LTP's library (lib/tst_test.c): a temporary directory below TMPDIR, results in
 * shared memory below /dev/shm, the test in a child with a process group of its own, a timeout by SIGALRM, the kernel's
 * configuration as a file, and results as bits of the exit code. The argument says what the test does.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TPASS = 0, TFAIL = 1, TBROK = 2, TWARN = 4, TCONF = 32 };

static int *result;
static volatile sig_atomic_t timed_out;
static pid_t child;

static void broken(const char *what)
{
	fprintf(stderr, "TBROK: %s: %s\n", what, strerror(errno));
	exit(TBROK);
}

static void out_of_time(int signal)
{
	(void)signal;
	timed_out = 1;
	kill(-child, SIGKILL);
}

/* lib/tst_kconfig.c, without /proc/config.gz, which needs a program to unpack it. */
static void need_config(const char *line)
{
	struct utsname name;
	char path[3][PATH_MAX], text[4096];
	int i;

	uname(&name);
	snprintf(path[0], PATH_MAX, "/lib/modules/%s/config", name.release);
	snprintf(path[1], PATH_MAX, "/lib/modules/%s/build/.config", name.release);
	snprintf(path[2], PATH_MAX, "/boot/config-%s", name.release);
	for (i = 0; i < 3; i++) {
		FILE *file = fopen(path[i], "r");
		while (file && fgets(text, sizeof(text), file))
			if (!strcmp(text, line)) {
				fclose(file);
				return;
			}
		if (file)
			fclose(file);
	}
	fprintf(stderr, "TCONF: no configuration has %s", line);
	exit(TCONF);
}

static void test(const char *what)
{
	if (!strcmp(what, "pass"))
		*result |= TPASS;
	else if (!strcmp(what, "fail"))
		*result |= TFAIL;
	else if (!strcmp(what, "warn"))
		*result |= TWARN | TFAIL;
	else if (!strcmp(what, "broken"))
		*result |= TBROK;
	else if (!strcmp(what, "unsupported"))
		need_config("CONFIG_NO_SUCH_SYMBOL=y\n");
	else if (!strcmp(what, "segv"))
		raise(SIGSEGV);
	else if (!strcmp(what, "hang"))
		for (;;)
			pause();
}

int main(int argc, char **argv)
{
	const char *tmp = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
	char dir[PATH_MAX], shm[PATH_MAX];
	int fd, status;

	need_config("CONFIG_NAMESPACES=y\n");
	snprintf(dir, sizeof(dir), "%s/LTP_XXXXXX", tmp);
	if (argc != 2 || !mkdtemp(dir) || chmod(dir, 0777) || chdir(dir))
		broken("temporary directory");
	snprintf(shm, sizeof(shm), "/dev/shm/ltp_program_%d", getpid());
	fd = open(shm, O_CREAT | O_EXCL | O_RDWR, 0600);
	if (fd < 0 || ftruncate(fd, getpagesize()))
		broken(shm);
	result = mmap(NULL, getpagesize(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (result == MAP_FAILED || unlink(shm) || mkfifo("fifo", 0600) || unlink("fifo"))
		broken("shared memory");
	signal(SIGALRM, out_of_time);
	child = fork();
	if (!child) {
		setpgid(0, 0);
		test(argv[1]);
		exit(*result);
	}
	setpgid(child, child);
	alarm(2);
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			broken("waitpid");
	alarm(0);
	if (timed_out)
		fprintf(stderr, "TBROK: Test timeouted\n");
	else if (WIFSIGNALED(status))
		fprintf(stderr, "TBROK: Test killed by %s\n", strsignal(WTERMSIG(status)));
	else
		*result |= WEXITSTATUS(status);
	if (timed_out || WIFSIGNALED(status))
		*result |= TBROK;
	if (chdir("/") || rmdir(dir))
		broken("removal of the temporary directory");
	printf("result %d\n", *result);
	return *result;
}
