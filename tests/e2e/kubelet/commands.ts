/** Commands that containers of the checks run; all of them are busybox's. */

/** Ends at once on SIGTERM, also as the first process of its PID namespace. */
export const SLEEPER: readonly string[] = ["sh", "-c", "trap 'exit 0' TERM; sleep 100000 & wait"];

export function shell(script: string): string[] {
  return ["sh", "-c", script];
}

/** Answers each connection to a port with one line, until SIGTERM. */
export function lineServer(port: number, line: string): string[] {
  return shell(`trap 'exit 0' TERM; busybox nc -ll -p ${port} -e echo ${line} & wait`);
}

/** Serves /www by HTTP. */
export function webServer(port: number): string[] {
  return shell(`mkdir -p /www; echo page >/www/index.html; exec busybox httpd -f -p ${port} -h /www`);
}
