#!/usr/bin/perl
# As client.py, which says what is spoken.  perl client.pl SOCKET COMMAND ARGUMENTS...
use strict;
use warnings;
use Cwd qw(getcwd);
use Errno qw(EAGAIN EINTR);
use Socket;

my ($path, @words) = @ARGV;
my $command = $words[0];
my $typed = (grep { $_ eq '-' } @words[1 .. $#words]) ? do { local $/; <STDIN> // '' } : '';
my $terminal = -t STDIN && -t STDOUT;
my $server;
socket($server, PF_UNIX, SOCK_STREAM, 0) && connect($server, sockaddr_un($path))
    or print(STDERR "The $command server is unreachable\n"), exit 1;
$SIG{INT} = sub { syswrite $server, "\x03" };
$SIG{PIPE} = 'IGNORE';
my ($raw, $before, $code) = (0, '', 1);
write_all($server, join('', map { "$_\0" } scalar @words, @words, getcwd() // '/', $ENV{OAR_JOB_ID} // '', $terminal ? 'tty' : '', $typed));
$raw = $command eq 'kaconsole3' && $terminal;
$before = `stty -g` if $raw;
system('stty', 'raw', '-echo') if $raw;
my $answer = '';
RELAY: while (1) {
    my $wanted = '';
    vec($wanted, fileno $server, 1) = 1;
    vec($wanted, fileno STDIN, 1) = 1 if $raw;
    next if select(my $ready = $wanted, undef, undef, undef) < 0;
    if ($raw && vec($ready, fileno STDIN, 1)) {
        sysread(STDIN, my $text, 4096) or do { $code = 0; last };
        write_all($server, $text);
    }
    next unless vec($ready, fileno $server, 1);
    my $got = sysread($server, $answer, 65536, length $answer);
    next if !defined $got && $! == EINTR;
    $got or do { print STDERR "the server of the box has stopped\n"; last };
    while (length $answer >= 9 && length $answer >= 9 + hex substr $answer, 1, 8) {
        my ($kind, $length) = (substr($answer, 0, 1), hex substr $answer, 1, 8);
        my $body = substr $answer, 9, $length;
        substr($answer, 0, 9 + $length) = '';
        if ($kind eq 'x') { $code = $body; last RELAY }
        if ($kind eq 's') { system { $body } $body; next }
        my $out = $kind eq 'o' ? \*STDOUT : \*STDERR;
        write_all($out, $body);
    }
}
leave($code);

# Ends the program when nobody is there to read it.
sub write_all {
    my ($to, $text) = @_;
    while (length $text) {
        my $written = syswrite $to, $text;
        if (defined $written) { substr($text, 0, $written) = '' }
        elsif ($! != EINTR && $! != EAGAIN) { leave(1) }
    }
}

sub leave {
    my $code = shift;
    if ($raw) { chomp $before; system('stty', $before) }
    exit $code;
}
