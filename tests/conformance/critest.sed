# What scripts/go-program changes in critest's sources, for stand-ins of its images.
# The image that is pulled by digest: FIXED_DIGEST of images.ts.
/testLinuxImageWithDigest /s|@sha256:[0-9a-f]*|@sha256:221662e5e1f79b65088b69f718cadc9e26a6169c1aaeacdb54d747ae9688bc33|
# bash words this differently than busybox's shell.
s|Equal("/bin/sh: ls: Permission denied\\n")|ContainSubstring("/bin/ls: Permission denied")|
