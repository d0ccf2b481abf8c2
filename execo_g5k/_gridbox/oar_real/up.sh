#!/bin/bash
# One site with a real OAR: its frontend, its database, its server and its hosts, in the namespaces that this shell is pid 1 of.
#
#   up.sh DIRECTORY SITE USER
#
# DIRECTORY holds authorized_keys, ssh_host_key (also .pub), manager.pl, site-tools.pl, `hosts`, as /etc/hosts has them, and resources.sql.
# It prints "ready" on descriptor 3, and lives until its standard input ends; with it the kernel ends all others.  What it changes in /etc,
# /home, /usr/lib/oar, /var/lib and /var/log are private layers in memory.  The network is a loopback of its own, so the well-known ports
# are free.
set -eu
directory=$1 site=$2 user=$3

# A second here is a second of each run.
layers=$directory/layers
mkdir "$layers"
mount -t tmpfs -o mode=755 layers "$layers"
for place in etc home usr/lib/oar var/lib var/log; do
    upper=$layers/${place//\//-}
    mkdir "$upper" "$upper.work"
    mount -t overlay overlay -o "lowerdir=/$place,upperdir=$upper,workdir=$upper.work" "/$place"
done
# /tmp too: OAR keeps files of jobs there, by their number.  DIRECTORY may be in it.
mkdir -m 1777 "$layers/tmp"
case $directory in /tmp/*)
    mkdir -p "$layers$directory"
    mount --rbind "$directory" "$layers$directory" ;;
esac
mount --rbind "$layers/tmp" /tmp
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/sshd
install -d -o postgres /run/postgresql

ip link set lo up
hostname frontend
unset "${!LC_@}" "${!OAR@}" LANG TZ
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
ln -sf /usr/share/zoneinfo/Europe/Paris /etc/localtime
echo Europe/Paris >/etc/timezone
{
    echo "127.0.0.1 localhost frontend frontend.$site.grid5000.fr $site $site.grid5000.fr"
    echo "127.0.0.1 oardb.$site.grid5000.fr oardb.$site oardb"
    cat "$directory/hosts"
} >/etc/hosts
echo "$site" >/etc/site
echo 'hosts: files' >/etc/nsswitch.conf
printf 'passwd: files\ngroup: files\nshadow: files\n' >>/etc/nsswitch.conf

# OAR lets neither root nor oar submit.
echo "$user:x:58000:58000::/home/$user:/bin/bash" >>/etc/passwd
echo "$user:x:58000:" >>/etc/group
echo "$user:*:1::::::" >>/etc/shadow
install -d -o "$user" -g "$user" -m 755 "/home/$user"

# Here, for users may not be allowed to look into DIRECTORY.
tools=/usr/lib/oar/site-tools
mkdir "$tools"
install -m 755 "$directory/site-tools.pl" "$tools/kavlan"
install -m 755 "$directory/site-tools.pl" "$tools/g5k-subnets"
install -m 644 "$directory/manager.pl" "$tools/manager.pl"
install -m 644 "$directory/authorized_keys" /etc/ssh/site_keys

# The database, without what makes it durable, while the rest is prepared.
postgres=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
data=/var/lib/site-postgresql
install -d -o postgres -m 700 "$data"
as_postgres() { (cd / && setpriv --reuid postgres --regid postgres --init-groups "$@"); }
{
    as_postgres "$postgres/initdb" -D "$data" --auth-local=trust --auth-host=scram-sha-256 --no-sync --no-instructions -E UTF8 --locale=C >/dev/null
    as_postgres "$postgres/pg_ctl" -D "$data" -w -s -l "$data/log" -o "-F -c fsync=off -c synchronous_commit=off -c full_page_writes=off \
        -c shared_buffers=16MB -c autovacuum=off -c listen_addresses=127.0.0.1 -c unix_socket_directories=/run/postgresql" start
    as_postgres psql -q -h /run/postgresql -d postgres -c "CREATE ROLE oaradmin SUPERUSER LOGIN PASSWORD 'admin'" -c "CREATE DATABASE oaradmin"
} &
database=$!

# The path of this file is compiled into the commands.
# Names and password of the database are those of Grid'5000.
sed -i -e 's/^DB_BASE_NAME=.*/DB_BASE_NAME="oar2"/' -e 's/^DB_BASE_LOGIN_RO=.*/DB_BASE_LOGIN_RO="oarreader"/' \
    -e 's/^DB_BASE_PASSWD=.*/DB_BASE_PASSWD="oar"/' -e 's/^DB_BASE_PASSWD_RO=.*/DB_BASE_PASSWD_RO="read"/' \
    -e 's/^SERVER_HOSTNAME=.*/SERVER_HOSTNAME="frontend"/' -e "s#^JOB_RESOURCE_MANAGER_FILE=.*#JOB_RESOURCE_MANAGER_FILE=\"$tools/manager.pl\"#" \
    -e 's/^CPUSET_PATH=/#CPUSET_PATH=/' -e 's/^LOG_LEVEL=.*/LOG_LEVEL="3"/' -e 's/^FINAUD_FREQUENCY=.*/FINAUD_FREQUENCY="0"/' \
    -e 's/^SCHEDULER_JOB_SECURITY_TIME=.*/SCHEDULER_JOB_SECURITY_TIME="1"/' \
    -e 's/^SCHEDULER_GANTT_HOLE_MINIMUM_TIME=.*/SCHEDULER_GANTT_HOLE_MINIMUM_TIME="1"/' \
    -e 's#^OARSUB_DEFAULT_RESOURCES=.*#OARSUB_DEFAULT_RESOURCES="/host=1"#' /etc/oar/oar.conf
sed -i -e '/^JOBDEL_/d' -e '/^#*WALLTIME_/d' /etc/oar/oar.conf
# A job that is deleted while it is launched lives until these have passed.
printf '%s="1"\n' SCHEDULER_MIN_TIME_BETWEEN_2_CALLS JOBDEL_SOFTWALLTIME JOBDEL_WALLTIME >>/etc/oar/oar.conf
printf '%s\n' 'WALLTIME_CHANGE_ENABLED="YES"' 'WALLTIME_MAX_INCREASE="-1"' 'WALLTIME_MIN_FOR_CHANGE="0"' >>/etc/oar/oar.conf
# It waits so long for more questions before it judges an advance reservation; schedules so rarely when nobody asks, also when one is to
# start; and looks so rarely for jobs that have had their time.
sed -i -e 's/^my \$read_commands_timeout = 10;/my $read_commands_timeout = 1;/' -e 's/^my \$schedulertimeout = 60;/my $schedulertimeout = 4;/' \
    -e 's/^my \$villainstimeout = 10;/my $villainstimeout = 4;/' /usr/lib/oar/Almighty
chown oar:root /etc/oar/oar.conf
chmod 600 /etc/oar/oar.conf
install -o oar /dev/null /var/log/oar.log

# The sshd of OAR, which starts the jobs, for all hosts: their addresses are all ours.
sed -i -e '/UsePrivilegeSeparation\|^Protocol\|KeepAlive\|^KeyRegeneration\|^ServerKeyBits\|RSAAuthentication\|^#/d' -e '/Subsystem/d' /etc/oar/sshd_config
grep -q '^PubkeyAuthentication' /etc/oar/sshd_config || echo 'PubkeyAuthentication yes' >>/etc/oar/sshd_config
echo 'Subsystem sftp /usr/lib/openssh/sftp-server' >>/etc/oar/sshd_config
/usr/sbin/sshd -f /etc/oar/sshd_config -o PidFile=none -E "$directory/oar-sshd.log" </dev/null

# The sshd through which users reach the frontend; one process for each connection.
cat >/etc/ssh/sshd_config <<END
HostKey $directory/ssh_host_key
AuthorizedKeysFile /etc/ssh/site_keys
SetEnv "PATH=$tools:/usr/local/bin:/usr/bin:/bin" SHLVL=1
StrictModes no
UsePAM no
PidFile none
PrintMotd no
PrintLastLog no
UseDNS no
END

wait "$database"
oar-database --create --force-yes --db-host 127.0.0.1 --db-port 5432 --db-admin-user oaradmin --db-admin-pass admin >"$directory/database.log" 2>&1 \
    || { cat "$directory/database.log" >&2; exit 1; }
(cd / && exec setsid /usr/sbin/Almighty </dev/null >"$directory/almighty.log" 2>&1) &

# As the commands oarproperty, oarnodesetting, oarnotify and oaradmissionrules would, which take seconds.
psql -q -v ON_ERROR_STOP=1 -h /run/postgresql -U oaradmin -f "$directory/resources.sql" oar2

for _ in $(seq 500); do
    if (exec 4<>/dev/tcp/127.0.0.1/6666) 2>/dev/null; then
        echo ready >&3
        exec 3>&-
        # not `cat`: bash itself has to wait, for it is who reaps orphans
        while read -r _; do :; done
        exit 0
    fi
    sleep 0.02
done
echo 'the server of OAR does not listen' >&2
cat "$directory/almighty.log" >&2
exit 1
