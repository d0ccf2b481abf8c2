from execo import *
from execo.localcluster import LocalCluster

with LocalCluster(3) as cluster:
    kernel = Remote("uname -s", cluster.hosts, cluster.connection_params).run()
    for process in kernel.processes:
        print(process.host.address, process.ok, process.stdout.strip())
    print(Report([kernel]).to_string())

# It prints:
# 127.92.14.1 True Linux
# 127.92.14.2 True Linux
# 127.92.14.3 True Linux
# Name                            start               end                 total
#  length         startd ended  error  timout fkilld expfld wrterr ret!=0 ok
# -------------------------------------------------------------------------------
# uname -s                        2031-05-17 14:00:00 2031-05-17 14:00:00 3
#  0s             3      3      0      0      0      0      0      0      3
# -------------------------------------------------------------------------------
# Report                          2031-05-17 14:00:00 2031-05-17 14:00:00 3
#  0s             3      3      0      0      0      0      0      0      3
