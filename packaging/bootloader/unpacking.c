/* Before the one file unpacks itself: whether it can, and whether programs may run where it would.
 *
 * The bootloader, which is not ours, would fail halfway and say "failed to map segment" or
 * "return code -1". This object is linked into it; a constructor runs before its main. Where
 * nothing is to be unpacked (the one-folder build, our own workers) it does nothing. */

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    UNPACKED_MB = 48, /* what packaging/freeze.py lets a build unpack to at most */
    EXIT_ENVIRONMENT = 3,
};

static const char *const REMEDY = "Say where else with TMPDIR=/a/folder, or use the package or the "
                                  "one-folder build, which unpack nothing.";

/* Whether this process is the first of its program, and has its files inside itself. */
static bool unpacks (void) {
    char self[PATH_MAX + sizeof "/_internal"];
    ssize_t length = readlink ("/proc/self/exe", self, PATH_MAX);
    if (length < 0)
        return false;
    self[length] = '\0';
    const char *archive = getenv ("_PYI_ARCHIVE_FILE");
    if (archive && strcmp (archive, self) == 0)
        return false; /* the bootloader, or a supervisor of ours, started it with all unpacked */
    char *end = strrchr (self, '/');
    if (!end)
        return false;
    strcpy (end, "/_internal");
    return access (self, F_OK) != 0;
}

/* Where the bootloader would unpack: the first of its folders in which it could make one. */
static const char *chosen_folder (void) {
    const char *named[] = {getenv ("TMPDIR"), getenv ("TEMP"), getenv ("TMP"), "/tmp",
                           "/var/tmp",        "/usr/tmp"};
    for (size_t index = 0; index < sizeof named / sizeof *named; index++) {
        const char *folder = named[index];
        struct stat found;
        if (folder && *folder && stat (folder, &found) == 0 && S_ISDIR (found.st_mode) &&
            access (folder, W_OK | X_OK) == 0)
            return folder;
    }
    return NULL;
}

__attribute__ ((constructor)) static void look_before_unpacking (void) {
    if (!unpacks())
        return;
    const char *folder = chosen_folder();
    if (!folder) {
        fprintf (stderr,
                 "bettong unpacks itself at each start, and can write to none of $TMPDIR, /tmp and "
                 "/var/tmp.\n%s\n",
                 REMEDY);
        exit (EXIT_ENVIRONMENT);
    }
    struct statvfs system;
    if (statvfs (folder, &system) != 0)
        return; /* the bootloader will say what is wrong with it */
    if (system.f_flag & ST_NOEXEC) {
        fprintf (stderr,
                 "bettong unpacks itself into %s at each start, but no program may run from there "
                 "(it is mounted noexec).\n%s\n",
                 folder, REMEDY);
        exit (EXIT_ENVIRONMENT);
    }
    uint64_t blocks = geteuid() == 0 ? system.f_bfree : system.f_bavail;
    uint64_t free_mb = blocks * system.f_frsize / 1000000;
    if (free_mb < UNPACKED_MB) {
        fprintf (stderr,
                 "bettong unpacks itself into %s at each start and needs %d MB there; %llu MB are "
                 "free.\nMake room. %s\n",
                 folder, UNPACKED_MB, (unsigned long long) free_mb, REMEDY);
        exit (EXIT_ENVIRONMENT);
    }
}
