# A hop of a chain copy: takes a stream from the hop before it, writes it, and feeds it to others; see protocol.py for both conversations.
# Core modules of perl 5.10 that Debian's perl-base has too; Digest::SHA is used only if it is there.
# The stream: the manifest (names and modes), the content of each file, the SHA-256 of each file.  A hop can serve any part of it that it has.
use strict;
use warnings;
use Config ();
use Errno qw(EAGAIN EINTR EINPROGRESS EXDEV ENOENT ENOTDIR EISDIR EBADMSG EINVAL ENOSYS ENOBUFS);
use Fcntl qw(:DEFAULT :seek);
use POSIX ();
use Socket;

use constant { CHUNK => 1 << 20, TOKEN => 64, HEADER => 128, REPLY => 20, PENDING => 64, PATIENCE => 5, INLINE => 1 << 20 };
use constant { KIND => 0, SIZE => 1, START => 2, PATH => 3, ENTRY => 4 };

my ($token, $interval, $connect_timeout, $dest);
my $head = 0;
my ($manifest, $sums) = ('', '');
my ($manifest_size, $total);
my @entries;                    # [type, mode, mtime, size, name, local path]
my @segments;                   # of the stream: [kind, size, start, path, entry]; kinds: m and s are in memory, f is a file
my $current = 0;                # the segment that is being received
my $have = 0;                   # so much of the stream can be served
my $output;                     # the file that is being received
my ($staging, $base, $only) = ('', undef, undef);
my ($listener, $source, $source_generation) = (undef, undef, 0);
my (%pending, %feeds);
my (@to_hash, @digests, $hasher);
my ($sealed, $announced) = (0, 0);
my $zeros = "\0" x CHUNK;
my $commands = '';
my $next_beat = 0;
my ($strangers, $next_stranger) = (0, 0);
my $guardian;
$| = 1;
binmode STDIN;
binmode STDOUT;
$SIG{PIPE} = 'IGNORE';

sub hex_of { return defined $_[0] && length $_[0] ? unpack('H*', $_[0]) : '-' }
sub text_of { return $_[0] eq '-' ? '' : pack('H*', $_[0]) }
my $fine_clock = eval { require Time::HiRes; 1 };
sub now { return $fine_clock ? Time::HiRes::time() : time }

sub report {
    my $line = join(' ', @_) . "\n";
    while (length $line) {
        my $written = syswrite(STDOUT, $line);
        if (defined $written) { substr($line, 0, $written) = '' }
        elsif ($! != EINTR) { leave(1) }        # nobody listens any more
    }
}

sub remove_staging {
    my ($folder) = @_;
    return if $folder eq '' || !opendir(my $files, $folder);
    unlink "$folder/$_" for grep { $_ ne '.' && $_ ne '..' } readdir $files;
    rmdir $folder;
}

sub leave {
    remove_staging($staging);
    POSIX::_exit($_[0]);
}

# $path may be undef; $errno 0 if no system call failed.
sub fail {
    my ($errno, $text, $path) = @_;
    report('fail', $errno + 0, hex_of($text), hex_of($path));
    leave(1);
}

sub fail_call { my $errno = $! + 0; fail($errno, "$!", $_[0]) }

# The parent stays behind to remove the temporary files if this process is killed in a way that it cannot see.
sub guard {
    pipe(my $read, $guardian) or fail_call();
    defined(my $pid = fork) or fail_call();
    if ($pid) {
        $SIG{$_} = 'IGNORE' for qw(TERM INT HUP);
        close $guardian;
        close STDIN;
        my $folder = '';
        while (defined(my $line = <$read>)) { chomp $line; $folder = text_of($line) }
        waitpid($pid, 0);
        my $status = $?;
        remove_staging($folder);
        POSIX::_exit($status & 127 ? 128 + ($status & 127) : $status >> 8);
    }
    close $read;
    $SIG{$_} = sub { leave(143) } for qw(TERM INT HUP);
}

# SHA-256.  openssl uses the instructions of the processor for it, which is several times faster than the others.
my $digest_sha = eval { require Digest::SHA; 1 };
my @tool;
for my $candidate (['openssl', 'dgst', '-sha256', '-r'], ['sha256sum']) {
    next unless grep { -x "$_/$candidate->[0]" } split(/:/, $ENV{PATH} || ''), '/usr/bin', '/bin';
    # A system may refuse to digest (a policy, a build without it): ask for one that is known.
    open(my $tried, '-|', @$candidate, '/dev/null') or next;
    my $line = <$tried>;
    close $tried;
    if (defined $line && $line =~ /^e3b0c44298fc1c14/) { @tool = @$candidate; last }
}

sub digest_of_text {
    return Digest::SHA::sha256($_[0]) if $digest_sha;
    defined(my $pid = open(my $out, '-|')) or fail_call();
    if (!$pid) {
        open(my $in, '|-', @tool) or POSIX::_exit(1);
        binmode $in;
        print $in $_[0];
        close $in;
        POSIX::_exit(0);
    }
    my $line = <$out>;
    close $out;
    fail(0, "$tool[0] cannot digest") unless defined $line && $line =~ /^([0-9a-f]{64})/;
    return pack('H*', $1);
}

sub hash_next {
    while (!$hasher && @to_hash) {
        my $segment = shift @to_hash;
        my $path = $segment->[PATH];
        my $number = $segment->[ENTRY];
        if ($digest_sha && ($segment->[SIZE] < INLINE || !@tool)) {
            if ($segment->[SIZE] < INLINE) {
                open(my $file, '<', $path) or fail_call($path);
                binmode $file;
                $digests[$number] = Digest::SHA->new(256)->addfile($file)->digest;
                next;
            }
            defined(my $pid = open(my $out, '-|')) or fail_call();
            if (!$pid) {
                open(my $file, '<', $path) or POSIX::_exit(1);
                binmode $file;
                syswrite(STDOUT, Digest::SHA->new(256)->addfile($file)->hexdigest . "\n");
                POSIX::_exit(0);
            }
            $hasher = [$out, $number, '', $path];
        } else {
            open(my $out, '-|', @tool, $path) or fail_call($tool[0]);
            $hasher = [$out, $number, '', $path];
        }
    }
    all_hashed() if !$hasher && !@to_hash;
}

sub read_hasher {
    my $got = sysread($hasher->[0], $hasher->[2], 4096, length $hasher->[2]);
    return if !defined $got && $! == EINTR || $got;
    close $hasher->[0];
    $hasher->[2] =~ /^\\?([0-9a-f]{64})/ or fail(0, 'cannot be read for its checksum', $hasher->[3]);
    $digests[$hasher->[1]] = pack('H*', $1);
    undef $hasher;
    hash_next();
}

sub all_hashed {
    if ($head) {
        return if $sealed;
        $sealed = 1;
        $sums = join('', map { $digests[$_->[ENTRY]] } grep { $_->[KIND] eq 'f' } @segments);
        $have = $total;
        report('sealed', unpack('H*', digest_of_text($manifest . $sums)));
    } elsif (defined $total && $have == $total && !$announced) {
        $announced = 1;
        my $place = 0;
        for my $segment (grep { $_->[KIND] eq 'f' } @segments) {
            if ($digests[$segment->[ENTRY]] ne substr($sums, $place, 32)) {
                report('differs', hex_of($entries[$segment->[ENTRY]][4]));
                return;
            }
            $place += 32;
        }
        report('verified', unpack('H*', digest_of_text($manifest . $sums)));
    }
}

# The manifest

sub scan {
    my ($path, $name, @above) = @_;
    my @facts = stat $path or fail_call($path);
    my ($device, $inode, $mode, $size, $mtime) = @facts[0, 1, 2, 7, 9];
    if (-d _) {
        fail(0, 'a loop of symbolic links', $path) if grep { $_ eq "$device $inode" } @above;
        push @entries, ['d', $mode & 07777, $mtime, 0, $name, $path];
        opendir(my $folder, $path) or fail_call($path);
        scan("$path/$_", "$name/$_", @above, "$device $inode") for sort grep { $_ ne '.' && $_ ne '..' } readdir $folder;
    } elsif (-f _) {
        sysopen(my $file, $path, O_RDONLY) or fail_call($path);
        push @entries, ['f', $mode & 07777, $mtime, $size, $name, $path];
    } else {
        fail(0, 'not a regular file or directory', $path);
    }
}

sub make_segments {
    my $start = $manifest_size;
    my $files = 0;
    @segments = (['m', $manifest_size, 0]);
    for my $i (0 .. $#entries) {
        next if $entries[$i][0] ne 'f';
        push @segments, ['f', $entries[$i][3], $start, $head ? $entries[$i][5] : "$staging/$i", $i];
        $start += $entries[$i][3];
        $files++;
    }
    push @segments, ['s', 32 * $files, $start];
    return $start + 32 * $files;
}

sub serve {
    for my $path (map { text_of($_) } @_) {
        (my $plain = $path) =~ s{(?<=.)/+\z}{};
        my ($name) = $plain =~ m{([^/]*)\z};
        $name = '.' if $name eq '' || $name eq '..';
        scan($plain =~ m{^/} ? $plain : "./$plain", $name);
    }
    my $here = POSIX::getcwd();
    for (@entries) {
        $manifest .= join(' ', $_->[0], sprintf('%o', $_->[1]), @$_[2, 3], length $_->[4]) . "\n" . $_->[4];
        $_->[5] = "$here/$_->[5]" unless $_->[5] =~ m{^/};
    }
    $manifest_size = length $manifest;
    $total = make_segments();
    $have = $total - $segments[-1][SIZE];
    @to_hash = grep { $_->[KIND] eq 'f' } @segments;
    report('sized', $have, $total);
    hash_next();
}

sub read_manifest {
    while ($manifest =~ /\G([fd]) ([0-7]+) (\d+) (\d+) (\d+)\n/gc) {
        my ($place, $type, $mode, $mtime, $size, $length) = (pos $manifest, $1, oct $2, $3, $4, $5);
        my $name = substr($manifest, $place, $length);
        fail(0, 'refused: a name that leads elsewhere', $name) if $name eq '' || $name =~ m{^/|(?:^|/)\.\.(?:/|\z)|\0};
        push @entries, [$type, $mode, $mtime, $size, $name];
        pos($manifest) = $place + $length;
    }
    fail(EBADMSG, 'the list of files is damaged') if (pos($manifest) || 0) != $manifest_size;
    find_place();
    make_segments() == $total or fail(EBADMSG, 'the list of files is damaged');
}

sub folder_of { my ($path) = @_; return $path =~ m{^(.*)/[^/]*\z}s ? ($1 eq '' ? '/' : $1) : '.' }

# Writing through a symbolic link writes what it points to.
sub behind_links {
    my ($path) = @_;
    for (1 .. 40) {
        my $target = readlink $path;
        return $path unless defined $target;
        $path = $target =~ m{^/} ? $target : folder_of($path) . "/$target";
    }
    return $path;
}

# Where the files go, by the rules of scp: into an existing directory, or to the name that is given for a single source.
sub find_place {
    my @tops = grep { $_->[4] !~ m{/} } @entries;
    my $parent = $dest;
    if (-d $dest) {
        $base = $dest;
    } elsif (@tops == 1) {
        fail(ENOENT, 'no such directory', $dest) if $dest =~ m{/\z} && $tops[0][0] eq 'f';
        fail(ENOTDIR, 'not a directory', $dest) if $tops[0][0] eq 'd' && -e $dest;
        $dest =~ s{(?<=.)/+\z}{};
        $only = $tops[0][4];
        $parent = folder_of(behind_links($dest));
    } else {
        fail(-e $dest ? ENOTDIR : ENOENT, -e _ ? 'not a directory' : 'no such directory', $dest);
    }
    open(my $random, '<', '/dev/urandom') or fail_call('/dev/urandom');
    sysread($random, my $bytes, 8);
    my $folder = "$parent/.execo-chain-" . unpack('H*', $bytes);
    syswrite($guardian, hex_of($folder) . "\n");        # before it exists
    mkdir($folder, 0700) or fail_call($parent);
    $staging = $folder;
}

sub place_of { my ($name) = @_; return defined $only ? $dest . substr($name, length $only) : "$base/$name" }

sub copy_over {
    my ($from, $to) = @_;
    sysopen(my $in, $from, O_RDONLY) or fail_call($from);
    my $temporary = folder_of($to) . '/.execo-chain-' . (split m{-}, $staging)[-1];
    sysopen(my $out, $temporary, O_WRONLY | O_CREAT | O_EXCL, 0600) or fail_call($to);
    while (my $got = sysread($in, my $data, CHUNK)) {
        for (my $at = 0; $at < $got;) {
            my $written = syswrite($out, $data, $got - $at, $at);
            if (!defined $written) { my $errno = $!; unlink $temporary; $! = $errno; fail_call($to) }
            $at += $written;
        }
    }
    return $temporary;
}

sub commit {
    my @folders;
    for my $i (0 .. $#entries) {
        my ($type, $mode, $mtime, $size, $name) = @{$entries[$i]};
        my $place = place_of($name);
        if ($type eq 'd') {
            -d $place or mkdir($place, 0700) or fail_call($place);
            push @folders, [$place, $mode, $mtime] if $name ne '.';
            next;
        }
        $place = behind_links($place);
        fail(-d _ ? EISDIR : EINVAL, 'in the way, and not a regular file', $place) if -e $place && !-f _;
        my $from = "$staging/$i";
        for my $try (1, 2) {
            chmod $mode, $from or fail_call($from);
            utime $mtime, $mtime, $from;
            last if rename $from, $place;
            $! == EXDEV && $try == 1 or fail_call($place);
            $from = copy_over($from, $place);           # its directory is on another file system
        }
        $entries[$i][5] = $place;
    }
    for (@segments) { $_->[PATH] = $entries[$_->[ENTRY]][5] if $_->[KIND] eq 'f' }
    for (reverse @folders) { chmod $_->[1], $_->[0]; utime $_->[2], $_->[2], $_->[0] }
    remove_staging($staging);
    report('done');
}

# Begin anew: what came was damaged.
sub restart {
    close_source();
    %feeds = ();
    if ($hasher) { close $hasher->[0]; undef $hasher }
    close $output if $output;
    remove_staging($staging);
    ($staging, $base, $only, $output, $manifest, $sums, $current, $have, $announced) = ('', undef, undef, undef, '', '', 0, 0, 0);
    @entries = @segments = @to_hash = @digests = ();
    undef $total;
    report('got', 0);
}

# Receiving

sub begin_file {
    my ($segment) = @_;
    sysopen($output, $segment->[PATH], O_WRONLY | O_CREAT | O_EXCL, 0600) or fail_call($segment->[PATH]);
    # Its full length at once: holes at its end are read, to feed others, before anything is written behind them.
    truncate($output, $segment->[SIZE]) or fail_call(place_of($entries[$segment->[ENTRY]][4]));
}

sub end_segments {
    while ($current < @segments && $have == $segments[$current][START] + $segments[$current][SIZE]) {
        my $segment = $segments[$current];
        if ($segment->[KIND] eq 'm') {
            read_manifest();
        } elsif ($segment->[KIND] eq 'f') {
            begin_file($segment) unless $output;
            close $output or fail_call(place_of($entries[$segment->[ENTRY]][4]));
            undef $output;
            push @to_hash, $segment;
        }
        $current++;
    }
    hash_next() if @to_hash || $have == $total;
}

sub store {
    my ($at, $length) = (0, length $_[0]);
    while ($at < $length) {
        my $segment = $segments[$current];
        my $n = $segment->[START] + $segment->[SIZE] - $have;
        $n = $length - $at if $n > $length - $at;
        if ($segment->[KIND] eq 'm') {
            $manifest .= substr($_[0], $at, $n);
        } elsif ($segment->[KIND] eq 's') {
            $sums .= substr($_[0], $at, $n);
        } else {
            begin_file($segment) unless $output;
            # Zeros become a hole; the first kilobytes tell nearly all other data apart.
            if ($n >= 4096 && substr($_[0], $at, 4096) eq substr($zeros, 0, 4096) && substr($_[0], $at, $n) eq substr($zeros, 0, $n)) {
                defined sysseek($output, $n, SEEK_CUR) or fail_call($segment->[PATH]);
            } else {
                for (my $put = 0; $put < $n;) {
                    my $written = syswrite($output, $_[0], $n - $put, $at + $put);
                    if (defined $written) { $put += $written }
                    elsif ($! != EINTR) { fail_call(place_of($entries[$segment->[ENTRY]][4])) }
                }
            }
        }
        $have += $n;
        $at += $n;
        end_segments() if $have == $segment->[START] + $segment->[SIZE];
    }
}

sub close_source { close $source if $source; undef $source }

sub receive {
    my $left = $total - $have;
    my $got = sysread($source, my $data, $left < CHUNK ? $left : CHUNK);
    if ($got) {
        store($data);
        if ($have == $total) { close_source(); report('got', $have) }
    } elsif (defined $got || ($! != EAGAIN && $! != EINTR)) {
        close_source();
        report('orphan', $source_generation);
    }
}

sub name_of {
    my ($address) = @_;
    if (Socket->can('getnameinfo')) {
        my ($error, $name) = Socket::getnameinfo($address, Socket::NI_NUMERICHOST());
        return $name unless $error;
    }
    return eval { inet_ntoa((unpack_sockaddr_in($address))[1]) } || '?';
}

sub refuse {
    my ($number, $why) = @_;
    my $peer = delete $pending{$number};
    close $peer->{socket};
    $strangers++;
    return if now() < $next_stranger;           # a flood of them must not become a flood of lines
    $next_stranger = now() + 1;
    report('stranger', $strangers, hex_of("$peer->{name} $why"));
    $strangers = 0;
}

sub same { my ($a, $b) = @_; return length $a == length $b && ($a ^ $b) !~ /[^\0]/ }

sub greet {
    my ($number) = @_;
    my $peer = $pending{$number};
    my $got = sysread($peer->{socket}, $peer->{header}, HEADER - length $peer->{header}, length $peer->{header});
    return if !defined $got && ($! == EAGAIN || $! == EINTR);
    # One that has said nothing: a feeder that was told to drop us before it could.
    if (!$got && $peer->{header} eq '') { close((delete $pending{$number})->{socket}); return }
    return refuse($number, 'left without a token') unless $got;
    my $header = $peer->{header};
    my $n = length $header < TOKEN ? length $header : TOKEN;
    return refuse($number, 'has a wrong token') unless same(substr($header, 0, $n), substr($token, 0, $n));
    return if length $header < HEADER;
    $header =~ /^\w+ (\d+) (\d+) (\d+) *\n\z/ or return refuse($number, 'is no hop of this version');
    my ($generation, $its_manifest, $its_total) = ($1, $2, $3);
    delete $pending{$number};
    # The coordinator may have changed its mind while this one was on its way.
    if ($generation <= $source_generation) { close $peer->{socket}; return }
    close_source();
    ($source, $source_generation) = ($peer->{socket}, $generation);
    if (!defined $total) {
        ($manifest_size, $total) = ($its_manifest, $its_total);
        @segments = (['m', $manifest_size, 0]);
    }
    syswrite($source, sprintf("%0*d\n", REPLY - 1, $have));
    if ($have == $total) { close_source() }
    elsif ($total && !$manifest_size) { fail(EBADMSG, 'the list of files is damaged') }
}

sub listen_for_hops {
    my $six = Socket->can('pack_sockaddr_in6') && socket($listener, Socket::AF_INET6(), SOCK_STREAM, 0)
        && setsockopt($listener, 41, 26, pack('i', 0))          # IPPROTO_IPV6, IPV6_V6ONLY: IPv4 too
        && bind($listener, Socket::pack_sockaddr_in6(0, Socket::inet_pton(Socket::AF_INET6(), '::')));
    $six or socket($listener, PF_INET, SOCK_STREAM, 0) && bind($listener, sockaddr_in(0, INADDR_ANY)) or fail_call();
    listen($listener, 128) or fail_call();
    unblock($listener);
    my $port = $six ? (Socket::unpack_sockaddr_in6(getsockname $listener))[0] : (sockaddr_in(getsockname $listener))[0];
    my $address = (split ' ', $ENV{SSH_CONNECTION} || '')[2];   # where ssh has reached this host
    report('port', $port, hex_of(defined $address && $address !~ /%/ ? $address : ''));
}

sub unblock { fcntl($_[0], F_SETFL, fcntl($_[0], F_GETFL, 0) | O_NONBLOCK) }

# Feeding

my %numbers = ('x86_64' => 40, 'aarch64' => 71, 'riscv64' => 71, 'loongarch64' => 71, 'ppc64le' => 186);
my $sendfile = $Config::Config{ptrsize} == 8 && $^O eq 'linux' ? $numbers{(POSIX::uname())[4]} : undef;

sub lose {
    my ($feed, $why) = @_;
    close $feed->{socket} if $feed->{socket};
    delete $feeds{$feed->{generation}};
    report('lost', $feed->{generation}, hex_of($why));
}

sub addresses {
    my ($name, $port) = @_;
    if (Socket->can('getaddrinfo')) {
        my ($error, @found) = Socket::getaddrinfo($name, $port, { socktype => SOCK_STREAM });
        return map { [$_->{family}, $_->{addr}] } @found;
    }
    my $address = inet_aton($name);
    return defined $address ? [PF_INET, scalar sockaddr_in($port, $address)] : ();
}

sub connect_next {
    my ($feed) = @_;
    close $feed->{socket} if $feed->{socket};
    undef $feed->{socket};
    while (@{$feed->{addresses}} || @{$feed->{names}}) {
        if (!@{$feed->{addresses}}) {
            my $name = shift @{$feed->{names}};
            @{$feed->{addresses}} = addresses($name, $feed->{port});
            $feed->{why} ||= "$name has no address";
            next;
        }
        my ($family, $address) = @{shift @{$feed->{addresses}}};
        socket(my $socket, $family, SOCK_STREAM, 0) or next;
        unblock($socket);
        setsockopt($socket, SOL_SOCKET, SO_KEEPALIVE, 1);
        if (!connect($socket, $address) && $! != EINPROGRESS) { $feed->{why} = name_of($address) . ": $!"; next }
        @$feed{qw(socket state deadline reply peer)} = ($socket, 'connecting', now() + $connect_timeout, '', name_of($address));
        return;
    }
    lose($feed, $feed->{why});
}

sub give_up { my ($feed, $why) = @_; $feed->{why} = "$feed->{peer}: $why"; connect_next($feed) }

sub connected {
    my ($feed) = @_;
    my $errno = unpack('i', getsockopt($feed->{socket}, SOL_SOCKET, SO_ERROR));
    if ($errno) { $! = $errno; return give_up($feed, "$!") }
    my $header = "$token $feed->{generation} $manifest_size $total";
    $header .= ' ' x (HEADER - 1 - length $header) . "\n";
    (syswrite($feed->{socket}, $header) || 0) == HEADER or return give_up($feed, "$!");
    $feed->{state} = 'greeting';
}

sub read_feed {
    my ($feed) = @_;
    my $got = sysread($feed->{socket}, $feed->{reply}, REPLY, length $feed->{reply});
    return if !defined $got && ($! == EAGAIN || $! == EINTR);
    my $why = defined $got ? 'closed the connection' : "$!";
    if ($feed->{state} eq 'feeding') { lose($feed, "$feed->{peer}: $why") if !$got; return }
    return give_up($feed, $why) unless $got;
    return if length $feed->{reply} < REPLY;
    $feed->{reply} =~ /^(\d+)\n\z/ && $1 <= $total or return give_up($feed, 'is no hop');
    @$feed{qw(state position segment)} = ('feeding', $1 + 0, 0);
}

sub feed {
    my ($feed) = @_;
    for (1 .. 64) {                             # files may be small
        if ($feed->{position} == $total) { close $feed->{socket}; delete $feeds{$feed->{generation}}; return }
        my $segment = $segments[$feed->{segment}];
        my $end = $segment->[START] + $segment->[SIZE];
        if ($feed->{position} >= $end) {
            return if $feed->{segment} == $#segments;           # the manifest is not complete
            $feed->{segment}++;
            undef $feed->{file};
            next;
        }
        my $n = ($end < $have ? $end : $have) - $feed->{position};
        return if $n <= 0;
        my $at = $feed->{position} - $segment->[START];
        my $sent;
        if ($segment->[KIND] ne 'f') {
            $sent = syswrite($feed->{socket}, $segment->[KIND] eq 'm' ? $manifest : $sums, $n < CHUNK ? $n : CHUNK, $at);
        } else {
            if (!$feed->{file}) {
                sysopen(my $file, $segment->[PATH], O_RDONLY) or fail_call($segment->[PATH]);
                $feed->{file} = $file;
            }
            $n = 4 * CHUNK if $n > 4 * CHUNK;
            if ($sendfile) {
                my $offset = pack('q', $at);
                $sent = syscall($sendfile, fileno $feed->{socket}, fileno $feed->{file}, $offset, $n);
                if ($sent < 0) {
                    if ($! == EINVAL || $! == ENOSYS) { undef $sendfile; next }     # not from this file system
                    undef $sent;
                }
            } else {
                sysseek($feed->{file}, $at, SEEK_SET);
                my $got = sysread($feed->{file}, my $data, $n < CHUNK ? $n : CHUNK);
                defined $got or fail_call($segment->[PATH]);
                $sent = $got ? syswrite($feed->{socket}, $data) : 0;
            }
            fail(0, 'has changed while it was sent', $segment->[PATH]) if defined $sent && $sent == 0;
        }
        if (!defined $sent) {
            return if $! == EAGAIN || $! == EINTR || $! == ENOBUFS;
            return lose($feed, "$feed->{peer}: $!");
        }
        $feed->{position} += $sent;
        return if $sent < $n;
    }
}

# Commands

sub obey {
    my ($command, @words) = split ' ', $_[0];
    if ($command eq 'join') {
        ($token, $interval, $connect_timeout, $dest) = @words;
        $dest = text_of($dest);
        $dest = '.' if $dest eq '';
        my $home = $ENV{HOME} || (getpwuid $>)[7];
        chdir $home or fail_call($home);
        $dest =~ s{^~(?=/|\z)}{$home};
        if ($dest =~ m{^~([^/]+)} && !-e $dest) { my $other = (getpwnam $1)[7]; $dest =~ s{^~[^/]+}{$other} if defined $other }
        guard();
        $digest_sha || @tool or fail(0, 'no program for SHA-256 here: openssl, sha256sum or the perl module Digest::SHA');
        listen_for_hops();
    } elsif ($command eq 'head') {
        ($token, $interval, $connect_timeout) = splice @words, 0, 3;
        $head = 1;
        $digest_sha || @tool or fail(0, 'no program for SHA-256 here: openssl, sha256sum or the perl module Digest::SHA');
        serve(@words);
    } elsif ($command eq 'feed') {
        my ($generation, $port, @names) = @words;
        my $feed = $feeds{$generation} = {
            generation => $generation, port => $port, names => [map { text_of($_) } @names], addresses => [], why => '' };
        if (defined $total) { connect_next($feed) } else { $feed->{state} = 'waiting' }
    } elsif ($command eq 'drop') {
        my $feed = delete $feeds{$words[0]};
        close $feed->{socket} if $feed && $feed->{socket};
    } elsif ($command eq 'commit') {
        commit();
    } elsif ($command eq 'restart') {
        restart();
    } elsif ($command eq 'quit') {
        leave(0);
    }
}

sub read_commands {
    my $got = sysread(STDIN, $commands, 65536, length $commands);
    return if !defined $got && $! == EINTR;
    leave(1) unless $got;                       # the coordinator is gone
    obey($1) while $commands =~ s/^([^\n]*)\n//;
}

sub turn {
    my ($readable, $writable) = ('', '');
    vec($readable, 0, 1) = 1;
    my @readers = grep { defined } $listener, $source, $hasher ? $hasher->[0] : undef, map { $_->{socket} } values %pending;
    vec($readable, fileno $_, 1) = 1 for @readers;
    for my $feed (values %feeds) {
        connect_next($feed) if $feed->{state} eq 'waiting' && defined $total;
        next unless $feeds{$feed->{generation}} && $feed->{socket};
        vec($writable, fileno $feed->{socket}, 1) = 1
            if $feed->{state} eq 'connecting' || $feed->{state} eq 'feeding' && $feed->{position} < $have;
        vec($readable, fileno $feed->{socket}, 1) = 1 if $feed->{state} ne 'connecting';
    }
    my $wait = 1;
    if (defined $interval) {
        $wait = $next_beat - now();
        $wait = 0 if $wait < 0;
        $wait = 0.5 if $wait > 0.5;
    }
    my $found = select($readable, $writable, undef, $wait);
    return if $found < 0;
    my $now = now();
    read_commands() if vec($readable, 0, 1);
    read_hasher() if $hasher && vec($readable, fileno $hasher->[0], 1);
    receive() if $source && vec($readable, fileno $source, 1);
    for my $feed (values %feeds) {
        my $socket = $feed->{socket} or next;
        my $number = fileno $socket;
        if ($feed->{state} eq 'connecting') {
            if (vec($writable, $number, 1)) { connected($feed) }
            elsif ($now > $feed->{deadline}) { give_up($feed, "no connection in $connect_timeout s") }
            next;
        }
        read_feed($feed) if vec($readable, $number, 1);
        next unless $feeds{$feed->{generation}} && $feed->{socket};
        if ($feed->{state} eq 'greeting') { give_up($feed, "no answer in $connect_timeout s") if $now > $feed->{deadline} }
        elsif ($feed->{state} eq 'feeding') { feed($feed) }
    }
    for my $number (keys %pending) {
        if (vec($readable, $number, 1)) { greet($number) }
        elsif ($now > $pending{$number}{deadline}) { refuse($number, 'said nothing') }
    }
    if ($listener && vec($readable, fileno $listener, 1)) {
        for (1 .. PENDING) {
            my $address = accept(my $socket, $listener) or last;
            unblock($socket);
            setsockopt($socket, SOL_SOCKET, SO_KEEPALIVE, 1);
            $pending{fileno $socket} = { socket => $socket, name => name_of($address), header => '', deadline => $now + PATIENCE };
            greet(fileno $socket);
            next if keys %pending <= PENDING;
            my ($oldest) = sort { $pending{$a}{deadline} <=> $pending{$b}{deadline} } keys %pending;
            refuse($oldest, 'said nothing, while others came');
        }
    }
    if (defined $interval && $now >= $next_beat) { $next_beat = $now + $interval; report('got', $have) }
}

turn() while 1;
