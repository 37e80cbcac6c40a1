/** Files of cgroups as Linux 6.18 (v1) and 6.12 (v2) write them, shortened to what tells kernels apart. */

const UNLIMITED_V1 = "9223372036854771712";

export const V1: Readonly<Record<string, string>> = {
  "cpuacct/cpuacct.usage": "91507442913\n",
  "memory/memory.usage_in_bytes": "73400320\n",
  "memory/memory.stat": `cache 1
rss 2
swap 3
pgfault 4
pgmajfault 5
inactive_file 6
hierarchical_memory_limit 134217728
hierarchical_memsw_limit 201326592
total_cache 20971520
total_rss 50331648
total_rss_huge 12582912
total_swap 4096
total_swapcached 0
total_pgpgin 52319
total_pgpgout 46960
total_pgfault 77700
total_pgmajfault 12
total_inactive_anon 0
total_active_anon 1531904
total_inactive_file 10485760
total_active_file 360448
total_unevictable 0
`,
  "pids/pids.current": "17\n",
};

export const V1_UNLIMITED: Readonly<Record<string, string>> = {
  ...V1,
  "memory/memory.stat": (V1["memory/memory.stat"] ?? "")
    .replace(/(hierarchical_mem\w+_limit) \d+/g, `$1 ${UNLIMITED_V1}`),
};

export const V2: Readonly<Record<string, string>> = {
  "cpu.stat": `usage_usec 2718281828
user_usec 2000000000
system_usec 718281828
nice_usec 0
core_sched.force_idle_usec 0
nr_periods 100
nr_throttled 7
throttled_usec 31415
`,
  "cpu.pressure": `some avg10=1.25 avg60=0.50 avg300=0.10 total=9000001
full avg10=0.25 avg60=0.00 avg300=0.00 total=8000002
`,
  "memory.current": "62914560\n",
  "memory.max": "max\n",
  "memory.stat": `anon 31457280
file 20971520
kernel 1234567
kernel_stack 49152
pagetables 102400
sock 0
shmem 0
file_mapped 8192
swapcached 0
inactive_anon 30408704
active_anon 4096
inactive_file 15728640
active_file 5242880
unevictable 0
pgfault 4242
pgmajfault 3
workingset_refault_anon 0
`,
  "memory.pressure":
    "some avg10=0.00 avg60=0.00 avg300=0.00 total=11\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
  "memory.swap.current": "8192\n",
  "memory.swap.max": "1048576\n",
  "pids.current": "4\n",
  "io.pressure":
    "some avg10=99.00 avg60=12.34 avg300=5.67 total=4000000000\nfull avg10=98.00 avg60=11.00 avg300=5.00 total=3999999999\n",
};
