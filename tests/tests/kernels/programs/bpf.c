/* Loads a program of two instructions, pins it below /sys/fs/bpf, gets it back from there, and reads the kernel's BTF. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PIN "/sys/fs/bpf/program"

static int bpf(int command, union bpf_attr *attributes)
{
	return syscall(SYS_bpf, command, attributes, sizeof(*attributes));
}

int main(void)
{
	struct bpf_insn code[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 42 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	static char log[65536];
	union bpf_attr load, pin, run;
	char packet[64] = { 0 };
	uint16_t magic = 0;
	int program, file;

	memset(&load, 0, sizeof(load));
	load.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
	load.insns = (uintptr_t)code;
	load.insn_cnt = 2;
	load.license = (uintptr_t)"GPL";
	load.log_buf = (uintptr_t)log;
	load.log_size = sizeof(log);
	load.log_level = 1;
	program = bpf(BPF_PROG_LOAD, &load);
	if (program < 0)
		return perror(log), 1;
	memset(&pin, 0, sizeof(pin));
	pin.pathname = (uintptr_t)PIN;
	pin.bpf_fd = program;
	if (bpf(BPF_OBJ_PIN, &pin))
		return perror(PIN), 2;
	close(program);
	memset(&pin, 0, sizeof(pin));
	pin.pathname = (uintptr_t)PIN;
	program = bpf(BPF_OBJ_GET, &pin);
	if (program < 0)
		return perror("BPF_OBJ_GET"), 3;
	memset(&run, 0, sizeof(run));
	run.test.prog_fd = program;
	run.test.data_in = (uintptr_t)packet;
	run.test.data_size_in = sizeof(packet);
	if (bpf(BPF_PROG_TEST_RUN, &run))
		return perror("BPF_PROG_TEST_RUN"), 4;
	file = open("/sys/kernel/btf/vmlinux", O_RDONLY);
	if (file < 0 || read(file, &magic, sizeof(magic)) != sizeof(magic))
		return perror("/sys/kernel/btf/vmlinux"), 5;
	printf("returned %u, BTF %#x\n", run.test.retval, magic);
	return 0;
}
