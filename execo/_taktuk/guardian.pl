# The process between us and a tree: it holds TakTuk's standard input, and outlives Python by as long as the remote commands take to end.
#
# Whatever ends Python (kill -9 too) closes the guardian's standard input.  It then has TakTuk end the remote commands, first with SIGTERM,
# then with SIGKILL, repeated, since a signal that comes while a command starts may miss it; only then TakTuk itself is told to quit.
# TakTuk alone would leave all commands running.  For this the guardian
#
# * lives in a session of its own, so that the signals which end our children do not end the tree that has to carry the kill;
# * keeps the reading ends of TakTuk's output open and empties them once Python is gone, so that TakTuk does not die of a broken pipe;
# * hands the list of hosts and commands to TakTuk in a file without a name, which nobody else can read and which cannot be left behind.
#
# SIGTERM, SIGINT and SIGHUP do the same as the end of Python; SIGQUIT ends the tree at once, without telling the hosts.
# In Perl, which TakTuk itself needs.
#
# Arguments: 'end' or 'keep', which is what becomes of the commands when Python ends; bytes of the list of hosts; the command of TakTuk.
# On standard input: the list of hosts, then what TakTuk is to read.

use strict;
use POSIX ();
use Fcntl;
my ($order, $size) = splice(@ARGV, 0, 2);
my $parent = getppid();
POSIX::setsid();
my ($ended, $asked) = (0, 0);
pipe(my $woken, my $wake) or die "pipe: $!\n";
for my $end ($woken, $wake) { fcntl($end, F_SETFL, O_NONBLOCK) }
$SIG{CHLD} = sub { $ended = 1; syswrite($wake, "c") };
$SIG{TERM} = $SIG{INT} = $SIG{HUP} = sub { $asked = 1; syswrite($wake, "t") };
$SIG{PIPE} = sub { };
my @drains;
for my $fd (1, 2) {
    next unless -p "/proc/self/fd/$fd" && sysopen(my $drain, "/proc/self/fd/$fd", O_RDONLY | O_NONBLOCK);
    push @drains, $drain;
}
open(my $items, '+>', undef) or die "no temporary file: $!\n";
while ($size > 0) {
    my $got = sysread(STDIN, my $data, $size > 65536 ? 65536 : $size);
    exit 0 unless $got;
    $size -= $got;
    while (length $data) {
        my $put = syswrite($items, $data);
        die "temporary file: $!\n" unless defined $put;
        substr($data, 0, $put) = '';
    }
}
fcntl($items, F_SETFD, 0);
pipe(my $out, my $in) or die "pipe: $!\n";
my $taktuk = fork();
die "fork: $!\n" unless defined $taktuk;
if (!$taktuk) {
    POSIX::setpgid(0, 0);
    open(STDIN, '<&', $out);
    for my $drain (@drains) { close $drain }
    exec(@ARGV, '-F', '/dev/fd/' . fileno($items)) or print STDERR "cannot run $ARGV[0]: $!\n";
    POSIX::_exit(127);
}
$SIG{QUIT} = sub { kill 'KILL', -$taktuk, $taktuk };
close $out;
close $items;
fcntl($in, F_SETFL, O_NONBLOCK);
# What to say, and at which second after the end of Python.  The first words end a command that was cut off.
my @farewell = ([0, ' ] ];network cancel;broadcast kill;'], [1, 'broadcast kill;'], [2, 'broadcast kill 9;'], [3, 'broadcast kill 9;'],
                [4, 'broadcast kill 9;quit;']);
my ($buffer, $python, $since, $last) = ('', 1, 0, 30);
while (!$ended) {
    if ($python && ($asked || getppid() != $parent)) { ($python, $since) = (0, time) }
    $order = 'end' if $asked;
    if (!$python && $order eq 'end') {
        while (@farewell && time - $since >= $farewell[0][0]) { $buffer .= (shift @farewell)->[1] }
        kill 'KILL', -$taktuk if time - $since > $last;
    }
    my ($readers, $writers) = ('', '');
    vec($readers, fileno($woken), 1) = 1;
    vec($readers, fileno(STDIN), 1) = 1 if $python && $buffer eq '';
    if (!$python) { vec($readers, fileno($_), 1) = 1 for @drains }
    vec($writers, fileno($in), 1) = 1 if $buffer ne '' && defined $in;
    my $pause = $python ? ($buffer eq '' ? undef : 1) : 0.25;
    next if select($readers, $writers, undef, $pause) <= 0;
    sysread($woken, my $bell, 64) if vec($readers, fileno($woken), 1);
    if ($python && vec($readers, fileno(STDIN), 1)) {
        my $got = sysread(STDIN, $buffer, 65536);
        if (!$got) {
            $buffer = '';
            ($python, $since) = (0, time);
            if ($order ne 'end') { close $in; undef $in }
        }
    }
    if (!$python) { sysread($_, my $rest, 65536) for @drains }
    if (defined $in && $buffer ne '') {
        my $put = syswrite($in, $buffer);
        if (defined $put) { substr($buffer, 0, $put) = '' }
        elsif (!$!{EAGAIN} && !$!{EINTR}) { $buffer = '' }
    }
}
my $status = waitpid($taktuk, 0) == $taktuk ? $? : 0;
POSIX::_exit($status & 127 ? 128 + ($status & 127) : $status >> 8);
