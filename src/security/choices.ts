/** `runtimeDefault`, `unconfined`, or a profile on this node: a file (seccomp) or the name of a loaded one (AppArmor). */
export type ProfileChoice =
  | { readonly kind: "runtimeDefault" }
  | { readonly kind: "unconfined" }
  | { readonly kind: "localhost"; readonly ref: string };

/** Parts of an SELinux label that a request gives; an empty part is not given. */
export interface SelinuxOptions {
  readonly user: string;
  readonly role: string;
  readonly type: string;
  readonly level: string;
}
