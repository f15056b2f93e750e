// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Whose the current task is, before anything is copied of a hit. All offsets are the
// running kernel's own, from its BTF, and the verifier checks each load against that.
// What cannot be read is 0, and then the task is nobody's.

#define OWN_LOAD(type, pointer, offset)                              \
	({                                                           \
		u64 loaded;                                          \
		asm volatile("%0 = *(" #type " *)(%1 + %2)"          \
			     : "=r"(loaded)                          \
			     : "r"(pointer), "i"(offset));           \
		loaded;                                              \
	})

#define PF_KTHREAD 0x00200000
// SUID_DUMP_USER in the bits of MMF_DUMPABLE_MASK: include/linux/sched/coredump.h.
#define DUMPABLE_MASK 3
#define DUMPABLE 1
// SOFTIRQ_OFFSET, which counts a softirq that runs, and all that counts hard interrupts and
// NMIs, up to PREEMPT_NEED_RESCHED: include/linux/preempt.h.
#define SERVING_SOFTIRQ 0x100
#define INTERRUPTS 0x7fff0000

// CAP_WAKE_ALARM: systemd gives it to the sessions of users.
#define HARMLESS_HIGH (1 << (35 - 32))

// Whether a task may do more than its user, as a service may by its unit: what it reads is not
// for that user. Those in a user namespace have rights over what is that namespace's.
static __always_inline bool has_more_rights(u64 cred)
{
	if (!(u32)OWN_LOAD(u32, cred, @CRED_CAP_PERMITTED@) &&
	    !((u32)OWN_LOAD(u32, cred, @CRED_CAP_PERMITTED@ + 4) & ~HARMLESS_HIGH))
		return false;
	return !(u32)OWN_LOAD(u32, OWN_LOAD(u64, cred, @CRED_USER_NS@), @NS_LEVEL@);
}

static __always_inline bool has_ids(u64 cred, u32 owner)
{
	if (owner && has_more_rights(cred))
		return false;
	return (u32)OWN_LOAD(u32, cred, @CRED_UID@) == owner &&
	       (u32)OWN_LOAD(u32, cred, @CRED_EUID@) == owner &&
	       (u32)OWN_LOAD(u32, cred, @CRED_SUID@) == owner &&
	       (u32)OWN_LOAD(u32, cred, @CRED_FSUID@) == owner;
}

// Whether this is the task at work and no interrupt that came upon it, but for the one
// that takes a sample.
static __always_inline bool in_task(u64 task)
{
	u32 count = 0;
#if @PER_CPU@
	u64 run_queue = OWN_LOAD(u64, OWN_LOAD(u64, task, @CFS_RQ@), @RQ@);
	u64 at_work = 0;

	// It is this CPU's only if this task is at work there.
	bpf_probe_read_kernel(&at_work, sizeof(at_work), (void *)(run_queue + (@AT_WORK@)));
	if (at_work != task)
		return false;
	if (bpf_probe_read_kernel(&count, sizeof(count), (void *)(run_queue + (@COUNT@))))
		return false;
#else
	count = OWN_LOAD(u32, task, @COUNT@);
#endif
	u32 interrupts = count & INTERRUPTS;

#if @IS_RT@
	count |= (u32)OWN_LOAD(u32, task, @TASK_SOFTIRQ@);
#endif
	return !(count & SERVING_SOFTIRQ) && (!interrupts || interrupts == @LOOKED_THROUGH@);
}

// The ptrace rule (ptrace(2), "Ptrace access mode checking"), with both of a task's
// credentials: those with which others may access it, and those with which it acts.
static __always_inline bool is_own(void)
{
	// Filled in when the program is linked: the text is the same for all users.
	u32 owner = bpf_pseudo_fd(15, 0);
	u64 task = (u64)bpf_get_current_task_btf();
	u64 cred = OWN_LOAD(u64, task, @TASK_CRED@);

	if (!has_ids(cred, owner))
		return false;

	u64 real_cred = OWN_LOAD(u64, task, @TASK_REAL_CRED@);

	if (real_cred != cred && !has_ids(real_cred, owner))
		return false;

	u64 mm = OWN_LOAD(u64, task, @TASK_MM@);

	if (!mm || (OWN_LOAD(u64, mm, @MM_FLAGS@) & DUMPABLE_MASK) != DUMPABLE)
		return false;
	if (OWN_LOAD(u32, task, @TASK_FLAGS@) & PF_KTHREAD)
		return false;
	return in_task(task);
}
