# What OAR runs on each host of a job (`perl - init|clean`; the description of the job follows on standard input).
#
# The managers that OAR ships make control groups, and delete what the user has in /tmp; here hosts are addresses of one machine.
# This one installs the key of the job, takes it away, and ends what the job has left: processes that have its number in their environment.
use strict;
use warnings;
use Fcntl ':flock';

my $given = do { local $/; <STDIN> };
my $job = eval($given);
exit 2 unless ref $job && defined $job->{log_level};
my $keys = $job->{ssh_keys};
my $has_key = defined $keys->{private}{key} && $keys->{private}{key} ne '';
my $public = $has_key ? $keys->{public}{key} =~ s/\n*$/\n/r : '';

sub edit {
    my ($name, $change) = @_;
    open(my $file, '+<', $name) or exit 10;
    flock($file, LOCK_EX);
    my @lines = $change->(<$file>);
    seek($file, 0, 0);
    print $file @lines;
    truncate($file, tell($file));
    close($file);
}

if ($ARGV[0] eq 'init') {
    mkdir $job->{oar_tmp_directory} unless -d $job->{oar_tmp_directory};
    if ($has_key) {
        open(my $file, '>', $keys->{private}{file_name}) or exit 7;
        chmod 0600, $keys->{private}{file_name};
        print $file $keys->{private}{key};
        close $file;
        edit($keys->{public}{file_name}, sub { ((grep { $_ ne $public } @_), $public) });
    }
} elsif ($ARGV[0] eq 'clean') {
    if ($has_key) {
        unlink $keys->{private}{file_name};
        edit($keys->{public}{file_name}, sub { grep { $_ ne $public } @_ });
    }
    # Only root reads the environment of others.
    system('oardodo', 'perl', '-e', <<'END', $job->{job_id});
for my $name (glob '/proc/[0-9]*/environ') {
    open(my $file, '<', $name) or next;
    local $/;
    my $environment = <$file>;
    next unless defined $environment && $environment =~ /(^|\0)OAR_JOB_ID=$ARGV[0]\0/;
    my ($pid) = $name =~ m{(\d+)};
    kill 9, $pid if $pid != $$;
}
END
}
exit 0;
