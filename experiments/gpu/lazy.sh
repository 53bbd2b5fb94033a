#!/usr/bin/env bash
# Makes libNAME.a, whose functions (names on standard input) load SONAME when the first of them is called and then jump to the real ones.
# A program linked with it starts where SONAME is missing. x86-64 only.
#
#   lazy.sh NAME SONAME FOLDER <names
set -euo pipefail
name=$1 soname=$2 folder=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mapfile -t functions
[ "${#functions[@]}" -gt 0 ] || { echo "lazy.sh: no functions for $name" >&2; exit 1; }

{
  cat <<C
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
static const char *const names[] = {
C
  printf '"%s",\n' "${functions[@]}"
  cat <<C
};
__attribute__((visibility("hidden"))) void *lazy_${name}_table[${#functions[@]}];
__attribute__((visibility("hidden"))) void *lazy_${name}_find(unsigned index) {
    static void *library;
    if (!library) library = dlopen("$soname", RTLD_NOW | RTLD_GLOBAL);
    void *found = library ? dlsym(library, names[index]) : 0;
    if (!found) {
        fprintf(stderr, "error: %s of $soname cannot be loaded: %s\n", names[index], dlerror());
        _Exit(1);
    }
    return lazy_${name}_table[index] = found;
}
C
} >"$work/find.c"

# Arguments arrive in registers, which the search must not disturb.
{
  cat <<S
    .text
lazy_${name}_search:
    pushq %rbp
    movq %rsp, %rbp
    pushq %rdi
    pushq %rsi
    pushq %rdx
    pushq %rcx
    pushq %r8
    pushq %r9
    pushq %rax
    subq \$136, %rsp
S
  for i in 0 1 2 3 4 5 6 7; do echo "    movups %xmm$i, $((16 * i))(%rsp)"; done
  cat <<S
    movl %r11d, %edi
    call lazy_${name}_find
    movq %rax, %r11
S
  for i in 0 1 2 3 4 5 6 7; do echo "    movups $((16 * i))(%rsp), %xmm$i"; done
  cat <<S
    addq \$136, %rsp
    popq %rax
    popq %r9
    popq %r8
    popq %rcx
    popq %rdx
    popq %rsi
    popq %rdi
    popq %rbp
    jmp *%r11
S
  for i in "${!functions[@]}"; do
    cat <<S
    .globl ${functions[i]}
    .type ${functions[i]}, @function
${functions[i]}:
    movq lazy_${name}_table+$((8 * i))(%rip), %r11
    testq %r11, %r11
    jne 1f
    movl \$$i, %r11d
    jmp lazy_${name}_search
1:  jmp *%r11
S
  done
  echo '    .section .note.GNU-stack,"",@progbits'
} >"$work/jump.s"

gcc -O1 -fPIC -c "$work/find.c" -o "$work/find.o"
gcc -c "$work/jump.s" -o "$work/jump.o"
rm -f "$folder/lib$name.a"
ar rcs "$folder/lib$name.a" "$work/find.o" "$work/jump.o"
