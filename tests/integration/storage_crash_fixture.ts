/** What the crash test and its child agree on. */
export const NAME = "localhost/crash:1";
export const CONTAINER = "c".repeat(64);
export const CONTENTS = [{ "etc/one": "1" }, { "etc/two": "2" }];
