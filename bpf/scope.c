// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Which tasks and CPUs count, and how children are followed.

#define CLONE_THREAD 0x00010000

#if @SCOPE_TASKS@
// Thread group ids (processes) and thread ids that are traced.
BPF_HASH(processes, u32, u8, @TASKS_MAX@);
BPF_HASH(threads, u32, u8, @TASKS_MAX@);
#endif

#if @SCOPE_CGROUPS@
BPF_CGROUP_ARRAY(cgroups, @SCOPE_CGROUPS@);
#endif

static __always_inline bool in_scope(void)
{
#if @SCOPE_OWNED@
	if (!is_own())
		return false;
#endif
#if @SCOPE_CPUS@
	u32 cpu = bpf_get_smp_processor_id();

	if (!(@CPU_TEST@))
		return false;
#endif
#if @SCOPE_TASKS@
	u64 id = bpf_get_current_pid_tgid();
	u32 process = id >> 32;
	u32 thread = id;

	if (!processes.lookup(&process) && !threads.lookup(&thread))
		return false;
#endif
#if @SCOPE_CGROUPS@
	bool inside = false;

#pragma unroll
	for (int i = 0; i < @SCOPE_CGROUPS@; i++)
		inside = inside || cgroups.check_current_task(i) > 0;
	if (!inside)
		return false;
#endif
	return true;
}

#if @SCOPE_TASKS@
// task:task_newtask, in the context of the parent.
int follow_newtask(void *ctx)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 process = id >> 32;
	u32 thread = id;
	u32 child = *(u32 *)(ctx + @NEWTASK_PID@);
	u64 flags = *(u64 *)(ctx + @NEWTASK_CLONE_FLAGS@);
	u8 one = 1;

	if (!(flags & CLONE_THREAD) && processes.lookup(&process))
		processes.update(&child, &one);
	if (threads.lookup(&thread))
		threads.update(&child, &one);
	return 1;
}

// sched:sched_process_free, when the last is said of a task: it still has events after
// sched_process_exit, and that event is one. The first thread of a process is kept
// until the others are gone, and its id is the process's.
int follow_free(void *ctx)
{
	u32 task = *(u32 *)(ctx + @FREE_PID@);

	threads.delete(&task);
	processes.delete(&task);
	return 1;
}
#endif
